package main

import (
	"context"
	"net"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"sigs.k8s.io/kube-network-policies/pkg/api"
	"sigs.k8s.io/kube-network-policies/pkg/network"
	"sigs.k8s.io/kube-network-policies/pkg/networkpolicy"
	"sigs.k8s.io/kube-network-policies/pkg/podinfo"
)

// kubeNetworkPolicies evaluates packets as sig-network's own engine does, from informers that nobody starts: what they
// hold is put there by hand.
func kubeNetworkPolicies(asked *batch) (judge, error) {
	client, err := kubernetes.NewForConfig(&rest.Config{Host: "http://localhost:1"}) // never dialled
	if err != nil {
		return nil, err
	}
	factory := informers.NewSharedInformerFactory(client, 0)
	namespaces, pods := factory.Core().V1().Namespaces(), factory.Core().V1().Pods()
	policies := factory.Networking().V1().NetworkPolicies()
	resolver, err := podinfo.NewInformerResolver(pods.Informer())
	if err != nil {
		return nil, err
	}
	if err := put(namespaces.Informer(), asked.Namespaces); err != nil {
		return nil, err
	}
	if err := put(pods.Informer(), asked.Pods); err != nil {
		return nil, err
	}
	if err := put(policies.Informer(), asked.Policies); err != nil {
		return nil, err
	}
	provider := podinfo.NewInformerProvider(pods, namespaces, nil, []podinfo.IPResolver{resolver})
	evaluator := networkpolicy.NewStandardNetworkPolicy("node-1", namespaces, pods, policies)
	engine := networkpolicy.NewPolicyEngine(provider, []api.PolicyEvaluator{evaluator})
	return func(each question) (bool, error) {
		packet := &network.Packet{
			Family:  familyOf(each.DestIP),
			SrcIP:   net.ParseIP(each.SourceIP),
			DstIP:   net.ParseIP(each.DestIP),
			Proto:   each.Protocol,
			SrcPort: 40000,
			DstPort: each.Port,
		}
		return engine.EvaluatePacket(context.Background(), packet)
	}, nil
}

func put[T any](informer cache.SharedIndexInformer, objects []T) error {
	for _, object := range objects {
		if err := informer.GetIndexer().Add(object); err != nil {
			return err
		}
	}
	return nil
}

func familyOf(address string) corev1.IPFamily {
	if net.ParseIP(address).To4() == nil {
		return corev1.IPv6Protocol
	}
	return corev1.IPv4Protocol
}
