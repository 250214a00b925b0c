package main

import (
	"fmt"

	"github.com/mattfenwick/cyclonus/pkg/matcher"
	corev1 "k8s.io/api/core/v1"
)

// cyclonus matches as github.com/mattfenwick/cyclonus does to tell a CNI what it should have done.
func cyclonus(asked *batch) (judge, error) {
	policies := matcher.BuildNetworkPolicies(true, asked.Policies)
	pods := map[string]*corev1.Pod{}
	for _, pod := range asked.Pods {
		pods[pod.Namespace+"/"+pod.Name] = pod
	}
	labels := map[string]map[string]string{}
	for _, namespace := range asked.Namespaces {
		labels[namespace.Name] = namespace.Labels
	}
	peer := func(name, address string) (*matcher.TrafficPeer, error) {
		if name == "" {
			return &matcher.TrafficPeer{IP: address}, nil
		}
		pod, known := pods[name]
		if !known {
			return nil, fmt.Errorf("no such pod: %s", name)
		}
		inside := &matcher.InternalPeer{
			PodLabels: pod.Labels, NamespaceLabels: labels[pod.Namespace], Namespace: pod.Namespace,
		}
		return &matcher.TrafficPeer{Internal: inside, IP: address}, nil
	}
	return func(each question) (bool, error) {
		source, err := peer(each.Source, each.SourceIP)
		if err != nil {
			return false, err
		}
		destination, err := peer(each.Destination, each.DestIP)
		if err != nil {
			return false, err
		}
		traffic := &matcher.Traffic{
			Source:           source,
			Destination:      destination,
			ResolvedPort:     each.Port,
			ResolvedPortName: portName(pods[each.Destination], each),
			Protocol:         each.Protocol,
		}
		return policies.IsTrafficAllowed(traffic).IsAllowed(), nil
	}, nil
}

// portName is what the pod calls the port, which the matcher is told by whoever asks.
func portName(pod *corev1.Pod, each question) string {
	for _, container := range pod.Spec.Containers {
		for _, port := range container.Ports {
			if int(port.ContainerPort) == each.Port && protocolOf(port) == each.Protocol {
				return port.Name
			}
		}
	}
	return ""
}

func protocolOf(port corev1.ContainerPort) corev1.Protocol {
	if port.Protocol == "" {
		return corev1.ProtocolTCP
	}
	return port.Protocol
}
