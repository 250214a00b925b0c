package main

import (
	"strconv"

	"github.com/np-guard/netpol-analyzer/pkg/netpol/eval"
	"k8s.io/apimachinery/pkg/runtime"
)

// netpolAnalyzer decides as `netpol-analyzer evaluate` does.
func netpolAnalyzer(asked *batch) (judge, error) {
	engine := eval.NewPolicyEngine()
	var objects []runtime.Object
	for _, each := range asked.Namespaces {
		objects = append(objects, each)
	}
	for _, each := range asked.Pods {
		objects = append(objects, each)
	}
	for _, each := range asked.Policies {
		objects = append(objects, each)
	}
	for _, each := range objects {
		if err := engine.InsertObject(each); err != nil {
			return nil, err
		}
	}
	return func(each question) (bool, error) {
		source := each.Source
		if source == "" {
			source = each.SourceIP
		}
		return engine.CheckIfAllowed(source, each.Destination, string(each.Protocol), strconv.Itoa(each.Port))
	}, nil
}
