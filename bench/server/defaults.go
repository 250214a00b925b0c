package main

// schema is an OpenAPI schema of a CRD, of which only the defaults count.
type schema = document

// fill sets the defaults that a schema gives, into what is there.
func fill(s schema, value any) {
	switch inner := value.(type) {
	case document:
		properties, _ := s["properties"].(document)
		for name, each := range properties {
			property := each.(document)
			if _, there := inner[name]; !there {
				if standard, has := property["default"]; has {
					inner[name] = clone(standard)
				}
			}
			if there, has := inner[name]; has {
				fill(property, there)
			}
		}
	case []any:
		if items, has := s["items"].(document); has {
			for _, item := range inner {
				fill(items, item)
			}
		}
	}
}

func clone(value any) any {
	var copied any
	if err := jsonInto(encode(value), &copied); err != nil {
		panic(err)
	}
	return copied
}

// settle brings a body into the form in which a real API server keeps it, as far as anybody here looks at that.
func (s *store) settle(k *kind, body document) {
	switch k.plural {
	case "services":
		s.settleService(body)
	case "networkpolicies":
		settleNetworkPolicy(body)
	default:
		if k.custom != nil {
			fill(k.custom, body)
		}
	}
}

func (s *store) settleService(body document) {
	spec := within(body, "spec")
	standard(spec, "type", "ClusterIP")
	standard(within(body, "status"), "loadBalancer", document{})
	if spec["type"] == "ExternalName" {
		return
	}
	standard(spec, "internalTrafficPolicy", "Cluster")
	standard(spec, "sessionAffinity", "None")
	standard(spec, "ipFamilies", []any{"IPv4"})
	standard(spec, "ipFamilyPolicy", "SingleStack")
	if spec["clusterIP"] == nil {
		s.addresses++
		spec["clusterIP"] = address(96, s.addresses)
		spec["clusterIPs"] = []any{spec["clusterIP"]}
	}
	exposed := spec["type"] == "NodePort" || spec["type"] == "LoadBalancer"
	ports, _ := spec["ports"].([]any)
	for _, each := range ports {
		port := each.(document)
		standard(port, "protocol", "TCP")
		standard(port, "targetPort", port["port"])
		if exposed && port["nodePort"] == nil {
			port["nodePort"] = s.nodePort()
		}
	}
	if !exposed {
		delete(spec, "externalTrafficPolicy")
	} else {
		standard(spec, "externalTrafficPolicy", "Cluster")
	}
	if spec["type"] == "LoadBalancer" && spec["externalTrafficPolicy"] == "Local" {
		if spec["healthCheckNodePort"] == nil {
			spec["healthCheckNodePort"] = s.nodePort()
		}
	} else {
		delete(spec, "healthCheckNodePort")
	}
}

// nodePort is the next one; a number as JSON has it.
func (s *store) nodePort() float64 {
	s.ports++
	return float64(10_000 + s.ports%55_000)
}

func settleNetworkPolicy(body document) {
	spec := within(body, "spec")
	standard(spec, "podSelector", document{})
	for field, side := range map[string]string{"ingress": "from", "egress": "to"} {
		rules, _ := spec[field].([]any)
		if len(rules) == 0 {
			delete(spec, field)
		}
		for _, each := range rules {
			rule := each.(document)
			for _, list := range []string{side, "ports"} {
				if items, _ := rule[list].([]any); len(items) == 0 {
					delete(rule, list) // as if it had not been sent, which lets everyone in
				}
			}
			ports, _ := rule["ports"].([]any)
			for _, port := range ports {
				standard(port.(document), "protocol", "TCP")
			}
		}
	}
	if spec["policyTypes"] == nil {
		spec["policyTypes"] = []any{"Ingress"}
		if spec["egress"] != nil {
			spec["policyTypes"] = []any{"Ingress", "Egress"}
		}
	}
}

func within(body document, name string) document {
	inner, isDocument := body[name].(document)
	if !isDocument {
		inner = document{}
		body[name] = inner
	}
	return inner
}

func standard(body document, name string, value any) {
	if body[name] == nil {
		body[name] = value
	}
}
