package main

import (
	"fmt"
	"net/http"
	"strings"
)

// refusal is what the server says no with: a metav1.Status, in the words of a real one where the operator reads them.
type refusal struct {
	code            int
	reason, message string
	details         document
}

func (r *refusal) Error() string { return r.message }

func (r *refusal) status() document {
	return document{
		"kind": "Status", "apiVersion": "v1", "metadata": document{}, "status": "Failure",
		"reason": r.reason, "message": r.message, "code": r.code, "details": r.details,
	}
}

func notFound(k *kind, name string) error {
	return &refusal{
		http.StatusNotFound, "NotFound", fmt.Sprintf("%s %q not found", k, name),
		document{"name": name, "group": k.group, "kind": k.plural},
	}
}

func noSuchResource() error {
	return &refusal{http.StatusNotFound, "NotFound", "the server could not find the requested resource", document{}}
}

func expired(message string) error {
	return &refusal{http.StatusGone, "Expired", message, nil}
}

func badRequest(message string) error {
	return &refusal{http.StatusBadRequest, "BadRequest", message, nil}
}

// notModelled is for what this server does not know the answer to.
func notModelled(what string) error {
	message := "the recording server does not know " + what
	return &refusal{http.StatusNotImplemented, "NotImplemented", message, nil}
}

func exists(k *kind, name string) error {
	return &refusal{
		http.StatusConflict, "AlreadyExists", fmt.Sprintf("%s %q already exists", k, name),
		document{"name": name, "group": k.group, "kind": k.plural},
	}
}

func conflict(k *kind, name, why string) error {
	return &refusal{
		http.StatusConflict, "Conflict", fmt.Sprintf("Operation cannot be fulfilled on %s %q: %s", k, name, why),
		document{"name": name, "group": k.group, "kind": k.plural},
	}
}

func modified(k *kind, name string) error {
	return conflict(
		k, name, "the object has been modified; please apply your changes to the latest version and try again",
	)
}

// contested is for an apply of what others own; holders are by field.
func contested(holders map[path][]owner) error {
	var causes []any
	var told []string
	for at, held := range holders {
		for _, who := range held {
			message := fmt.Sprintf("conflict with %q", who.manager)
			causes = append(
				causes, document{"reason": "FieldManagerConflict", "field": at.dotted(), "message": message},
			)
			told = append(told, message+": "+at.dotted())
		}
	}
	return &refusal{
		http.StatusConflict, "Conflict",
		fmt.Sprintf("Apply failed with %d conflicts: %s", len(causes), strings.Join(told, ", ")),
		document{"causes": causes},
	}
}

func otherUID(k *kind, name, uid string) error {
	return &refusal{
		http.StatusUnprocessableEntity, "Invalid",
		fmt.Sprintf("%s %q is invalid: metadata.uid: Invalid value: %q: field is immutable", k, name, uid), nil,
	}
}
