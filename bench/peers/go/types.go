package main

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// groupVersion is what the CRD of the repository serves.
var groupVersion = schema.GroupVersion{Group: "nodeport-access.io", Version: "v1alpha1"}

// Policy is a NodePortAccessPolicy, as far as this operator reads it.
type Policy struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`
	Spec              PolicySpec   `json:"spec"`
	Status            PolicyStatus `json:"status,omitempty"`
}

type PolicySpec struct {
	ServiceRef   ServiceRef    `json:"serviceRef"`
	AllowedCIDRs []AllowedCIDR `json:"allowedCIDRs,omitempty"`
}

type ServiceRef struct {
	Name string `json:"name"`
}

type AllowedCIDR struct {
	CIDR   string   `json:"cidr"`
	Except []string `json:"except,omitempty"`
}

type PolicyStatus struct {
	ObservedGeneration int64              `json:"observedGeneration,omitempty"`
	Conditions         []metav1.Condition `json:"conditions,omitempty"`
	ServiceUID         string             `json:"serviceUID,omitempty"`
	NodePorts          []int32            `json:"nodePorts,omitempty"`
	EffectiveCIDRs     *int32             `json:"effectiveCIDRs,omitempty"`
	Nodes              *NodesStatus       `json:"nodes,omitempty"`
}

type NodesStatus struct {
	Ready    int32  `json:"ready"`
	Draining int32  `json:"draining"`
	Total    int32  `json:"total"`
	Share    string `json:"share"`
}

type PolicyList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Policy `json:"items"`
}

func addToScheme(scheme *runtime.Scheme) {
	scheme.AddKnownTypeWithName(groupVersion.WithKind("NodePortAccessPolicy"), &Policy{})
	scheme.AddKnownTypeWithName(groupVersion.WithKind("NodePortAccessPolicyList"), &PolicyList{})
	metav1.AddToGroupVersion(scheme, groupVersion)
}

func (in *Policy) DeepCopyObject() runtime.Object { return in.DeepCopy() }

func (in *Policy) DeepCopy() *Policy {
	out := &Policy{TypeMeta: in.TypeMeta, Spec: PolicySpec{ServiceRef: in.Spec.ServiceRef}}
	in.ObjectMeta.DeepCopyInto(&out.ObjectMeta)
	if in.Spec.AllowedCIDRs != nil {
		out.Spec.AllowedCIDRs = make([]AllowedCIDR, len(in.Spec.AllowedCIDRs))
		for i, entry := range in.Spec.AllowedCIDRs {
			out.Spec.AllowedCIDRs[i] = AllowedCIDR{CIDR: entry.CIDR, Except: append([]string(nil), entry.Except...)}
		}
	}
	in.Status.DeepCopyInto(&out.Status)
	return out
}

func (in *PolicyStatus) DeepCopyInto(out *PolicyStatus) {
	*out = *in
	if in.Conditions != nil {
		out.Conditions = make([]metav1.Condition, len(in.Conditions))
		for i := range in.Conditions {
			in.Conditions[i].DeepCopyInto(&out.Conditions[i])
		}
	}
	out.NodePorts = append([]int32(nil), in.NodePorts...)
	if in.EffectiveCIDRs != nil {
		count := *in.EffectiveCIDRs
		out.EffectiveCIDRs = &count
	}
	if in.Nodes != nil {
		nodes := *in.Nodes
		out.Nodes = &nodes
	}
}

func (in *PolicyList) DeepCopyObject() runtime.Object {
	out := &PolicyList{TypeMeta: in.TypeMeta}
	in.ListMeta.DeepCopyInto(&out.ListMeta)
	if in.Items != nil {
		out.Items = make([]Policy, len(in.Items))
		for i := range in.Items {
			out.Items[i] = *in.Items[i].DeepCopy()
		}
	}
	return out
}
