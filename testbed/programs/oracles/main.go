// oracles asks other implementations of NetworkPolicy which connections they let in to a pod, so that the product's
// own evaluator can be held against them.
//
// It reads one JSON object a line from standard input, objects and questions together, and answers each with one line:
// for every engine that was asked, a word for every question, "yes", "no", or the sentence with which the engine gave
// up. Not its business: who is right.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
)

// batch is one line of the input.
type batch struct {
	Engines    []string                      `json:"engines"`
	Namespaces []*corev1.Namespace           `json:"namespaces"`
	Pods       []*corev1.Pod                 `json:"pods"`
	Policies   []*networkingv1.NetworkPolicy `json:"policies"`
	Questions  []question                    `json:"questions"`
}

// question is one new connection to a pod. Source is the pod "namespace/name" that opens it, or empty.
type question struct {
	Source      string          `json:"source"`
	SourceIP    string          `json:"sourceIP"`
	Destination string          `json:"destination"`
	DestIP      string          `json:"destinationIP"`
	Protocol    corev1.Protocol `json:"protocol"`
	Port        int             `json:"port"`
}

// judge answers one question; an error is an engine's own words.
type judge func(question) (bool, error)

// engines make a judge of the objects of a batch.
var engines = map[string]func(*batch) (judge, error){
	"cyclonus":              cyclonus,
	"kube-network-policies": kubeNetworkPolicies,
	"netpol-analyzer":       netpolAnalyzer,
}

func main() {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 64<<20)
	answers := bufio.NewWriter(os.Stdout)
	for lines.Scan() {
		var asked batch
		if err := json.Unmarshal(lines.Bytes(), &asked); err != nil {
			fmt.Fprintln(os.Stderr, "oracles:", err)
			os.Exit(2)
		}
		answered := map[string][]string{}
		for _, name := range asked.Engines {
			answered[name] = ask(name, &asked)
		}
		line, err := json.Marshal(answered)
		if err == nil {
			_, err = answers.Write(append(line, '\n'))
		}
		if err == nil {
			err = answers.Flush()
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "oracles:", err)
			os.Exit(1)
		}
	}
	if err := lines.Err(); err != nil {
		fmt.Fprintln(os.Stderr, "oracles:", err)
		os.Exit(1)
	}
}

// ask puts every question to one engine.
func ask(name string, asked *batch) []string {
	words := make([]string, len(asked.Questions))
	decide, err := made(name, asked)
	for i, each := range asked.Questions {
		if err != nil {
			words[i] = err.Error()
		} else {
			words[i] = decided(decide, each)
		}
	}
	return words
}

func made(name string, asked *batch) (decide judge, err error) {
	defer func() {
		if panicked := recover(); panicked != nil {
			err = fmt.Errorf("panic: %v", panicked)
		}
	}()
	build, known := engines[name]
	if !known {
		return nil, fmt.Errorf("no such engine: %s", name)
	}
	return build(asked)
}

func decided(decide judge, each question) (word string) {
	defer func() {
		if panicked := recover(); panicked != nil {
			word = fmt.Sprintf("panic: %v", panicked)
		}
	}()
	admitted, err := decide(each)
	switch {
	case err != nil:
		return err.Error()
	case admitted:
		return "yes"
	default:
		return "no"
	}
}
