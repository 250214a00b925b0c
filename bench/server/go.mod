module nodeport-access.io/bench/recording-server

go 1.26.0
