// policy-engine decides about packets as Kubernetes NetworkPolicy says: the kernel hands it every packet that an
// NFQUEUE rule catches, and sig-network's own engine (sigs.k8s.io/kube-network-policies) gives the verdict.
//
// Upstream's own dataplane needs nft's queue statement, which not every kernel has, and always sits in one place.
// Here the place is wherever the caller's iptables rule is, so that one engine can stand in for CNIs that decide
// before masquerading on every node, before it on the pod's own node, or after it at the pod's interface.
//
// It prints one line, "ready", when it has listed everything and holds the queue. Until then, and after its end, the
// kernel drops what the rule catches: shut is the safe side. Not its business: which packets are caught.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/florianl/go-nfqueue/v2"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/kube-network-policies/pkg/api"
	"sigs.k8s.io/kube-network-policies/pkg/network"
	"sigs.k8s.io/kube-network-policies/pkg/networkpolicy"
	"sigs.k8s.io/kube-network-policies/pkg/podinfo"
)

func main() {
	kubeconfig := flag.String("kubeconfig", "", "how to reach the API server, and as whom")
	node := flag.String("node", "", "the name of the Node this engine works for")
	queue := flag.Uint("queue", 100, "number of the NFQUEUE")
	netns := flag.String("netns", "", "the network namespace (a path) whose queue it is; by default this process's own")
	flag.Parse()
	if *kubeconfig == "" || *node == "" || *queue > 65535 || flag.NArg() > 0 {
		flag.Usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *kubeconfig, *node, uint16(*queue), *netns); err != nil {
		fmt.Fprintln(os.Stderr, "policy-engine:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, kubeconfig, node string, queue uint16, netns string) error {
	engine, err := newEngine(ctx, kubeconfig, node)
	if err != nil {
		return err
	}
	config := nfqueue.Config{
		NfQueue:      queue,
		MaxPacketLen: 128, // addresses and ports are all that is looked at
		MaxQueueLen:  1024,
		Copymode:     nfqueue.NfQnlCopyPacket,
		WriteTimeout: time.Second,
	}
	if netns != "" {
		file, err := os.Open(netns)
		if err != nil {
			return err
		}
		defer file.Close()
		config.NetNS = int(file.Fd())
	}
	packets, err := nfqueue.Open(&config)
	if err != nil {
		return fmt.Errorf("queue %d: %w", queue, err)
	}
	defer packets.Close()
	judge := func(a nfqueue.Attribute) int {
		verdict := nfqueue.NfDrop
		if admits(ctx, engine, a) {
			verdict = nfqueue.NfAccept
		}
		if err := packets.SetVerdict(*a.PacketID, verdict); err != nil {
			fmt.Fprintln(os.Stderr, "policy-engine: verdict:", err)
		}
		return 0
	}
	// What cannot be received any more (the kernel's buffer ran over) was dropped by the kernel: go on with the rest.
	goOn := func(err error) int {
		if !errors.Is(err, os.ErrClosed) && ctx.Err() == nil {
			fmt.Fprintln(os.Stderr, "policy-engine: receive:", err)
		}
		return 0
	}
	if err := packets.RegisterWithErrorFunc(ctx, judge, goOn); err != nil {
		return fmt.Errorf("queue %d: %w", queue, err)
	}
	fmt.Println("ready")
	<-ctx.Done()
	return nil
}

// newEngine lists what NetworkPolicy speaks of, keeps it up to date, and returns when everything has been listed.
func newEngine(ctx context.Context, kubeconfig, node string) (*networkpolicy.PolicyEngine, error) {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, err
	}
	// Decoded from JSON, an empty list of ingress rules is one that is there, and upstream takes that for "everyone".
	config.AcceptContentTypes = "application/vnd.kubernetes.protobuf"
	config.ContentType = "application/vnd.kubernetes.protobuf"
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	factory := informers.NewSharedInformerFactory(client, 0)
	namespaces, pods := factory.Core().V1().Namespaces(), factory.Core().V1().Pods()
	policies := factory.Networking().V1().NetworkPolicies()
	if err := pods.Informer().SetTransform(withoutManagedFields); err != nil {
		return nil, err
	}
	resolver, err := podinfo.NewInformerResolver(pods.Informer())
	if err != nil {
		return nil, err
	}
	provider := podinfo.NewInformerProvider(pods, namespaces, nil, []podinfo.IPResolver{resolver})
	evaluator := networkpolicy.NewStandardNetworkPolicy(node, namespaces, pods, policies)
	engine := networkpolicy.NewPolicyEngine(provider, []api.PolicyEvaluator{evaluator})
	factory.Start(ctx.Done())
	for kind, synced := range factory.WaitForCacheSync(ctx.Done()) {
		if !synced {
			return nil, fmt.Errorf("%v were not listed", kind)
		}
	}
	return engine, nil
}

func admits(ctx context.Context, engine *networkpolicy.PolicyEngine, a nfqueue.Attribute) bool {
	if a.Payload == nil {
		return false
	}
	packet, err := network.ParsePacket(*a.Payload)
	if err != nil {
		fmt.Fprintln(os.Stderr, "policy-engine: packet:", err)
		return false
	}
	admitted, err := engine.EvaluatePacket(ctx, &packet)
	if err != nil {
		fmt.Fprintln(os.Stderr, "policy-engine: evaluation:", err)
	}
	return admitted && err == nil
}

func withoutManagedFields(object any) (any, error) {
	if accessor, err := meta.Accessor(object); err == nil {
		accessor.SetManagedFields(nil)
	}
	return object, nil
}
