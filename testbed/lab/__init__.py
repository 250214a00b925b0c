"""A cluster's dataplane on one machine, out of network namespaces: real packets decide whether a policy works.

    namespaces      network namespaces that vanish with their maker, and sockets inside them
    topology        who is where: nodes, pods, outside hosts, their addresses and routes
    network         the topology made, and pods that come and go
    machine         what a machine must have for all this
    running_loop    the event loop that servers and dials run in
    backends        servers in pods: they tell each client which address they saw
    dialing         one connection from a host to an address, and what became of it
    proxies         kube-proxy on every node
    policing        the NetworkPolicy engine on every node, in one of three placements
    load_balancer   HAProxy, which probes the node ports
    stage           what is in the cluster: a dashboard, and who calls it
    steady          a client who connects over and over
    lab             all of it together with the control plane
    standing        the one that `make lab` leaves standing

Not its business: what should get through (`tests/lab`).
"""
