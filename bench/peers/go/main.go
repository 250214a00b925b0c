// The operator as one would write it in Go: controller-runtime, caches on the same kinds, server-side apply of the
// children, one status write, and no rate limit on the client's side. It is measured beside the Python one.
//
// It knows less, and so has less to do: no entries per port, no expiry, no peers from inside, no claims between
// policies, no judgement of other NetworkPolicies. Whatever is left out makes it faster, never slower.
package main

import (
	"flag"
	"os"

	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
)

func main() {
	var workers int
	flag.IntVar(&workers, "workers", 16, "reconciles at once")
	flag.Parse() // --kubeconfig is controller-runtime's own
	ctrl.SetLogger(zap.New())
	if err := run(workers); err != nil {
		ctrl.Log.Error(err, "ended")
		os.Exit(1)
	}
}

func run(workers int) error {
	scheme := runtime.NewScheme()
	utilruntime.Must(clientgoscheme.AddToScheme(scheme))
	addToScheme(scheme)

	config := ctrl.GetConfigOrDie()
	config.QPS = -1

	manager, err := ctrl.NewManager(config, ctrl.Options{
		Scheme:  scheme,
		Metrics: metricsserver.Options{BindAddress: "0"},
		Cache: cache.Options{
			DefaultTransform: cache.TransformStripManagedFields(),
		},
		Client: client.Options{
			// Or a second pass would see a policy from before the first one's status, and write it again.
			Cache: &client.CacheOptions{EnableReadYourWritesConsistency: ptr.To(true)},
		},
	})
	if err != nil {
		return err
	}
	reconciler := &Reconciler{client: manager.GetClient()}
	if err := reconciler.setUp(manager, workers); err != nil {
		return err
	}
	return manager.Start(ctrl.SetupSignalHandler())
}
