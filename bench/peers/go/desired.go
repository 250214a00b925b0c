package main

import (
	"fmt"
	"net/netip"
	"slices"

	"go4.org/netipx"
	corev1 "k8s.io/api/core/v1"
	netv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	coreac "k8s.io/client-go/applyconfigurations/core/v1"
	metaac "k8s.io/client-go/applyconfigurations/meta/v1"
	netac "k8s.io/client-go/applyconfigurations/networking/v1"
)

const (
	fieldOwner     = "nodeport-access-operator"
	managedByLabel = "app.kubernetes.io/managed-by"
	policyLabel    = "nodeport-access.io/policy"
	serviceLabel   = "nodeport-access.io/service"
)

// allowedNetworks is allowed minus excepted, of the Service's families, as the fewest disjoint prefixes.
func allowedNetworks(policy *Policy, service *corev1.Service) ([]netip.Prefix, error) {
	var all netipx.IPSetBuilder
	for _, entry := range policy.Spec.AllowedCIDRs {
		var one netipx.IPSetBuilder
		prefix, err := netip.ParsePrefix(entry.CIDR)
		if err != nil {
			return nil, err
		}
		one.AddPrefix(prefix)
		for _, text := range entry.Except {
			except, err := netip.ParsePrefix(text)
			if err != nil {
				return nil, err
			}
			one.RemovePrefix(except)
		}
		set, err := one.IPSet()
		if err != nil {
			return nil, err
		}
		all.AddSet(set)
	}
	set, err := all.IPSet()
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(set.Prefixes(), func(prefix netip.Prefix) bool {
		family := corev1.IPv6Protocol
		if prefix.Addr().Is4() {
			family = corev1.IPv4Protocol
		}
		return !slices.Contains(service.Spec.IPFamilies, family)
	}), nil
}

func allowlist(policy *Policy, service *corev1.Service, networks []netip.Prefix) *netac.NetworkPolicyApplyConfiguration {
	body := networkPolicy(policy, service, policy.Name+"-allow")
	if len(networks) == 0 || len(service.Spec.Ports) == 0 {
		return body
	}
	rule := netac.NetworkPolicyIngressRule()
	for _, network := range networks {
		rule.WithFrom(netac.NetworkPolicyPeer().WithIPBlock(netac.IPBlock().WithCIDR(network.String())))
	}
	for _, port := range service.Spec.Ports {
		target := port.TargetPort
		if target.Type == intstr.Int && target.IntVal == 0 {
			target = intstr.FromInt32(port.Port)
		}
		rule.WithPorts(netac.NetworkPolicyPort().WithProtocol(port.Protocol).WithPort(target))
	}
	body.Spec.WithIngress(rule)
	return body
}

func denyAll(policy *Policy, service *corev1.Service) *netac.NetworkPolicyApplyConfiguration {
	return networkPolicy(policy, service, policy.Name+"-deny-all")
}

func localService(policy *Policy, service *corev1.Service) *coreac.ServiceApplyConfiguration {
	return coreac.Service(service.Name, service.Namespace).
		WithUID(service.UID).
		WithLabels(map[string]string{policyLabel: policy.Name}).
		WithSpec(coreac.ServiceSpec().WithExternalTrafficPolicy(corev1.ServiceExternalTrafficPolicyLocal))
}

func networkPolicy(policy *Policy, service *corev1.Service, name string) *netac.NetworkPolicyApplyConfiguration {
	return netac.NetworkPolicy(name, policy.Namespace).
		WithLabels(map[string]string{
			managedByLabel: fieldOwner,
			policyLabel:    policy.Name,
			serviceLabel:   service.Name,
		}).
		WithOwnerReferences(metaac.OwnerReference().
			WithAPIVersion(groupVersion.String()).
			WithKind("NodePortAccessPolicy").
			WithName(policy.Name).
			WithUID(policy.UID).
			WithController(true)).
		WithSpec(netac.NetworkPolicySpec().
			WithPodSelector(metaac.LabelSelector().WithMatchLabels(service.Spec.Selector)).
			WithPolicyTypes(netv1.PolicyTypeIngress))
}

// status is what is told of a policy whose three objects are as they should be.
func status(policy *Policy, service *corev1.Service, networks int, ready, total int) PolicyStatus {
	var wanted PolicyStatus
	policy.Status.DeepCopyInto(&wanted)
	wanted.ObservedGeneration = policy.Generation
	wanted.ServiceUID = string(service.UID)
	wanted.NodePorts = nil
	for _, port := range service.Spec.Ports {
		wanted.NodePorts = append(wanted.NodePorts, port.NodePort)
	}
	slices.Sort(wanted.NodePorts)
	count := int32(networks)
	wanted.EffectiveCIDRs = &count
	wanted.Nodes = &NodesStatus{Ready: int32(ready), Total: int32(total), Share: fmt.Sprintf("%d/%d", ready, total)}
	for _, condition := range conditions(policy.Generation, ready, total) {
		meta.SetStatusCondition(&wanted.Conditions, condition)
	}
	return wanted
}

func conditions(generation int64, ready, total int) []metav1.Condition {
	answer := func(kind, reason, message string) metav1.Condition {
		return metav1.Condition{
			Type: kind, Status: metav1.ConditionTrue, Reason: reason, Message: message, ObservedGeneration: generation,
		}
	}
	reachable := answer("Reachable", "NodesAnswer", fmt.Sprintf("%d of %d nodes have a ready pod.", ready, total))
	if ready == 0 {
		reachable.Status, reachable.Reason = metav1.ConditionFalse, "NoReadyEndpoints"
	}
	return []metav1.Condition{
		answer("Ready", "Guarded", "New connections from outside get in only from the allowlist."),
		answer("ServiceResolved", "ServiceFound", "The Service exists, has node ports and a selector."),
		answer("ClientIPPreserved", "LocalInForce", "externalTrafficPolicy: Local is in force."),
		answer("AllowlistApplied", "Applied", "The allowlist is as wanted."),
		answer("DefaultDenyApplied", "Applied", "The deny-all is as wanted."),
		reachable,
		answer("Exclusive", "NoOtherOpening", "No other NetworkPolicy opens these pods."),
		answer("Enforceable", "NothingBypasses", "Nothing was found that a NetworkPolicy cannot hold back."),
	}
}
