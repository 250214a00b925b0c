"""A real Kubernetes control plane on this machine, for the tests and for trying the operator out (`make up`).

etcd, kube-apiserver and kube-controller-manager of a pinned version run as ordinary programs: no root, no containers,
Linux only. There is no kubelet: what it would write (the status of nodes and pods) `testbed.objects` and
`testbed.cluster` write in its stead.

Not its business: what the operator does with all that; nothing in `operator/` imports from here.
"""
