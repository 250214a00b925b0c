package main

import (
	"context"
	"maps"
	"reflect"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	netv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	netac "k8s.io/client-go/applyconfigurations/networking/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// serviceIndex finds the policies of a Service.
const serviceIndex = "spec.serviceRef.name"

// mayLag is for what is written before the status: a policy is read again only when the cache has its last status, and
// then it has what came before, or nearly always. To wait for each kind would make the passes of all others slower.
const mayLag = client.DisableReadYourWritesConsistency

// comesOrGoes passes over heartbeats.
var comesOrGoes = predicate.Funcs{UpdateFunc: func(event.UpdateEvent) bool { return false }}

// Reconciler brings the objects of one policy to what it wants.
type Reconciler struct {
	client client.Client
}

func (r *Reconciler) setUp(manager ctrl.Manager, workers int) error {
	index := func(object client.Object) []string { return []string{object.(*Policy).Spec.ServiceRef.Name} }
	if err := manager.GetFieldIndexer().IndexField(context.Background(), &Policy{}, serviceIndex, index); err != nil {
		return err
	}
	return ctrl.NewControllerManagedBy(manager).
		Named("nodeportaccesspolicy").
		For(&Policy{}, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Owns(&netv1.NetworkPolicy{}).
		Watches(&corev1.Service{}, handler.EnqueueRequestsFromMapFunc(r.policiesOfService)).
		Watches(&discoveryv1.EndpointSlice{}, handler.EnqueueRequestsFromMapFunc(r.policiesOfSlice)).
		// Only how many there are matters.
		Watches(&corev1.Node{}, handler.EnqueueRequestsFromMapFunc(r.allPolicies),
			builder.WithPredicates(comesOrGoes)).
		WithOptions(controller.Options{MaxConcurrentReconciles: workers}).
		Complete(r)
}

// Reconcile writes what differs, in the order that leaves no gap: allowlist, Local, deny-all, and then the status.
func (r *Reconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	policy := &Policy{}
	if err := r.client.Get(ctx, request.NamespacedName, policy); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if !policy.DeletionTimestamp.IsZero() {
		return ctrl.Result{}, nil
	}
	service := &corev1.Service{}
	key := types.NamespacedName{Namespace: policy.Namespace, Name: policy.Spec.ServiceRef.Name}
	if err := r.client.Get(ctx, key, service, mayLag); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err) // its creation brings the policy back
	}
	networks, err := allowedNetworks(policy, service)
	if err != nil {
		return ctrl.Result{}, reconcile.TerminalError(err)
	}
	allow, deny := allowlist(policy, service, networks), denyAll(policy, service)
	allowed, err := r.isAsWanted(ctx, allow)
	if err != nil {
		return ctrl.Result{}, err
	}
	denied, err := r.isAsWanted(ctx, deny)
	if err != nil {
		return ctrl.Result{}, err
	}
	if !allowed {
		if err := r.apply(ctx, allow); err != nil {
			return ctrl.Result{}, err
		}
	}
	if service.Spec.ExternalTrafficPolicy != corev1.ServiceExternalTrafficPolicyLocal ||
		service.Labels[policyLabel] != policy.Name {
		if err := r.apply(ctx, localService(policy, service)); err != nil {
			return ctrl.Result{}, err
		}
	}
	if !denied {
		if err := r.apply(ctx, deny); err != nil {
			return ctrl.Result{}, err
		}
	}
	return ctrl.Result{}, r.writeStatus(ctx, policy, service, len(networks))
}

func (r *Reconciler) apply(ctx context.Context, wanted runtime.ApplyConfiguration) error {
	return r.client.Apply(ctx, wanted, client.ForceOwnership, client.FieldOwner(fieldOwner), mayLag)
}

func (r *Reconciler) isAsWanted(ctx context.Context, wanted *netac.NetworkPolicyApplyConfiguration) (bool, error) {
	seen := &netv1.NetworkPolicy{}
	key := types.NamespacedName{Namespace: *wanted.Namespace, Name: *wanted.Name}
	if err := r.client.Get(ctx, key, seen, mayLag); err != nil {
		return false, client.IgnoreNotFound(err)
	}
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(wanted)
	if err != nil {
		return false, err
	}
	object := &netv1.NetworkPolicy{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(content, object); err != nil {
		return false, err
	}
	labels := maps.Clone(seen.Labels)
	maps.Copy(labels, object.Labels)
	return reflect.DeepEqual(labels, seen.Labels) &&
		equality.Semantic.DeepEqual(seen.OwnerReferences, object.OwnerReferences) &&
		equality.Semantic.DeepEqual(seen.Spec, object.Spec), nil
}

func (r *Reconciler) writeStatus(ctx context.Context, policy *Policy, service *corev1.Service, networks int) error {
	ready, err := r.readyNodes(ctx, service)
	if err != nil {
		return err
	}
	nodes := &corev1.NodeList{}
	if err := r.client.List(ctx, nodes, client.UnsafeDisableDeepCopy); err != nil {
		return err
	}
	wanted := status(policy, service, networks, ready, len(nodes.Items))
	if equality.Semantic.DeepEqual(policy.Status, wanted) {
		return nil
	}
	before := policy.DeepCopy()
	policy.Status = wanted
	return r.client.Status().Patch(ctx, policy, client.MergeFrom(before), client.FieldOwner(fieldOwner))
}

func (r *Reconciler) readyNodes(ctx context.Context, service *corev1.Service) (int, error) {
	slices := &discoveryv1.EndpointSliceList{}
	ofService := client.MatchingLabels{discoveryv1.LabelServiceName: service.Name}
	if err := r.client.List(ctx, slices, client.InNamespace(service.Namespace), ofService); err != nil {
		return 0, err
	}
	nodes := map[string]struct{}{}
	for _, slice := range slices.Items {
		for _, endpoint := range slice.Endpoints {
			ready := endpoint.Conditions.Ready
			if endpoint.NodeName != nil && (ready == nil || *ready) {
				nodes[*endpoint.NodeName] = struct{}{}
			}
		}
	}
	return len(nodes), nil
}

func (r *Reconciler) policiesOfService(ctx context.Context, service client.Object) []reconcile.Request {
	return r.policies(ctx, client.InNamespace(service.GetNamespace()), client.MatchingFields{serviceIndex: service.GetName()})
}

func (r *Reconciler) policiesOfSlice(ctx context.Context, slice client.Object) []reconcile.Request {
	name := slice.GetLabels()[discoveryv1.LabelServiceName]
	return r.policies(ctx, client.InNamespace(slice.GetNamespace()), client.MatchingFields{serviceIndex: name})
}

func (r *Reconciler) allPolicies(ctx context.Context, _ client.Object) []reconcile.Request {
	return r.policies(ctx)
}

func (r *Reconciler) policies(ctx context.Context, options ...client.ListOption) []reconcile.Request {
	found := &PolicyList{}
	if err := r.client.List(ctx, found, append(options, client.UnsafeDisableDeepCopy)...); err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "policies cannot be listed")
		return nil
	}
	requests := make([]reconcile.Request, 0, len(found.Items))
	for i := range found.Items {
		requests = append(requests, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&found.Items[i])})
	}
	return requests
}
