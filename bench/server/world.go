package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// world is what is to be there: sets of objects, each made of templates, so and so many times.
type world struct {
	// PerGroup is how many of a set share a GROUP.
	PerGroup int                  `json:"perGroup"`
	Sets     map[string]templates `json:"sets"`
}

type templates struct {
	Count     int               `json:"count"`
	Templates []json.RawMessage `json:"templates"`
}

// place is where an object of a world is.
type place struct{ namespace, name string }

// inhabitants are the places of what was made, by set and plural.
type inhabitants map[string]map[string][]place

// remake forgets everything but the CRDs, and makes a world; namespaces come by themselves.
func (s *store) remake(wanted world) (inhabitants, error) {
	s.lock.Lock()
	defer s.lock.Unlock()
	s.version++
	s.ports, s.addresses = 0, 0
	for _, k := range s.kinds {
		if k.plural != "customresourcedefinitions" {
			k.forget(s.version)
		}
	}
	made := inhabitants{}
	for _, name := range slices.Sorted(maps.Keys(wanted.Sets)) {
		made[name] = map[string][]place{}
		for number := range wanted.Sets[name].Count {
			values := strings.NewReplacer(
				"NUMBER", fmt.Sprintf("%05d", number), "GROUP", fmt.Sprintf("%04d", number/max(wanted.PerGroup, 1)),
				"POD_ADDRESS", address(128, number), "NODE_ADDRESS", address(64, number),
			)
			for _, template := range wanted.Sets[name].Templates {
				plural, at, err := s.settleDown(values.Replace(string(template)))
				if err != nil {
					return nil, fmt.Errorf("set %s: %w", name, err)
				}
				made[name][plural] = append(made[name][plural], at)
			}
		}
	}
	return made, nil
}

func (s *store) settleDown(content string) (plural string, at place, err error) {
	body, err := decode([]byte(content))
	if err != nil {
		return "", at, err
	}
	for _, k := range s.kinds {
		if k.name != text(body, "kind") || k.apiVersion() != text(body, "apiVersion") {
			continue
		}
		t := target{kind: k, namespace: text(within(body, "metadata"), "namespace"), manager: "bench"}
		spaces := s.kinds["/v1/namespaces"]
		if t.namespace != "" && spaces.objects["/"+t.namespace] == nil {
			labels := document{"kubernetes.io/metadata.name": t.namespace}
			space := document{"metadata": document{"name": t.namespace, "labels": labels}}
			if _, err := s.create(target{kind: spaces, manager: "bench"}, space); err != nil {
				return "", at, err
			}
		}
		stored, err := s.create(t, body)
		if err != nil {
			return "", at, err
		}
		return k.plural, place{stored.namespace, stored.name}, nil
	}
	return "", at, noSuchResource()
}

// address is one of 4 million.
func address(second, number int) string {
	return fmt.Sprintf("10.%d.%d.%d", second+number>>16, number>>8&255, number&255)
}
