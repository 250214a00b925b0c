// kstatus says what GitOps tools make of an object: those that go by kstatus' rules, and Flux where it is given rules of
// its own for a kind (healthCheckExprs). Of an object of Flux's own kinds it says whether Flux' types know every field.
//
// It reads one question a line from standard input, in JSON, and answers each with one line. Not its business: what the
// status should be.
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	helm "github.com/fluxcd/helm-controller/api/v2"
	flux "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/kustomize"
	"github.com/fluxcd/pkg/runtime/cel"
	source "github.com/fluxcd/source-controller/api/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// question is one line of the input. Decode asks for the types' verdict, else it is about the object's status.
type question struct {
	Object           json.RawMessage                   `json:"object"`
	HealthCheckExprs *kustomize.HealthCheckExpressions `json:"healthCheckExprs"`
	Decode           bool                              `json:"decode"`
}

// answer is one line of the output; Error is empty where nothing is wrong.
type answer struct {
	Status string `json:"status"`
	Error  string `json:"error"`
}

func main() {
	if err := filter(); err != nil {
		fmt.Fprintln(os.Stderr, "kstatus:", err)
		os.Exit(1)
	}
}

func filter() error {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 64<<20)
	answers := json.NewEncoder(os.Stdout)
	for lines.Scan() {
		var asked question
		if err := json.Unmarshal(lines.Bytes(), &asked); err != nil {
			return err
		}
		found, err := answered(&asked)
		answer := answer{Status: found.String()}
		if err != nil {
			answer.Error = err.Error()
		}
		if err := answers.Encode(answer); err != nil {
			return err
		}
	}
	return lines.Err()
}

func answered(asked *question) (status.Status, error) {
	if asked.Decode {
		return "", decoded(asked.Object)
	}
	object := &unstructured.Unstructured{}
	if err := object.UnmarshalJSON(asked.Object); err != nil {
		return "", err
	}
	result, err := computed(object, asked.HealthCheckExprs)
	if err != nil {
		return "", err
	}
	return result.Status, nil
}

func computed(object *unstructured.Unstructured, by *kustomize.HealthCheckExpressions) (*status.Result, error) {
	if by == nil {
		return status.Compute(object)
	}
	rules, err := cel.NewStatusEvaluator(by)
	if err != nil {
		return nil, err
	}
	return rules.Evaluate(context.Background(), object)
}

// decoded takes an object into the Go type of its kind, which must know every field.
func decoded(object json.RawMessage) error {
	var named struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
	}
	if err := json.Unmarshal(object, &named); err != nil {
		return err
	}
	kinds := map[string]any{
		flux.GroupVersion.String() + "/Kustomization":   &flux.Kustomization{},
		helm.GroupVersion.String() + "/HelmRelease":     &helm.HelmRelease{},
		source.GroupVersion.String() + "/GitRepository": &source.GitRepository{},
	}
	into, known := kinds[named.APIVersion+"/"+named.Kind]
	if !known {
		return fmt.Errorf("no type is known for %s of %s", named.Kind, named.APIVersion)
	}
	strict := json.NewDecoder(bytes.NewReader(object))
	strict.DisallowUnknownFields()
	return strict.Decode(into)
}
