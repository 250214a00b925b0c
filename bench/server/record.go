package main

import (
	"net/http"
	"os"
	"strings"
	"sync"
	"time"
)

// auditEvent is one line of the record, as the API server writes it (audit.k8s.io/v1), at level Metadata.
type auditEvent struct {
	Kind       string         `json:"kind"`
	APIVersion string         `json:"apiVersion"`
	Level      string         `json:"level"`
	Stage      string         `json:"stage"`
	RequestURI string         `json:"requestURI"`
	Verb       string         `json:"verb"`
	User       user           `json:"user"`
	UserAgent  string         `json:"userAgent"`
	ObjectRef  *objectRef     `json:"objectRef,omitempty"`
	Response   responseStatus `json:"responseStatus"`
	Received   string         `json:"requestReceivedTimestamp"`
	Answered   string         `json:"stageTimestamp"`
}

type user struct {
	Username string `json:"username"`
}

type objectRef struct {
	Resource    string `json:"resource"`
	Namespace   string `json:"namespace,omitempty"`
	Name        string `json:"name,omitempty"`
	APIGroup    string `json:"apiGroup,omitempty"`
	APIVersion  string `json:"apiVersion"`
	Subresource string `json:"subresource,omitempty"`
}

type responseStatus struct {
	Code int `json:"code"`
}

// recorder writes a line for each request that was answered; for a watch when it has ended.
type recorder struct {
	lock  sync.Mutex
	log   *os.File
	next  *api
	churn *churn
}

func (r *recorder) ServeHTTP(answer http.ResponseWriter, request *http.Request) {
	received := time.Now()
	counted := &codeWriter{ResponseWriter: answer, code: http.StatusOK}
	call := r.next.serve(counted, request)
	answered := time.Now()
	who := strings.TrimPrefix(request.Header.Get("Authorization"), "Bearer ")
	line := auditEvent{
		Kind: "Event", APIVersion: "audit.k8s.io/v1", Level: "Metadata", Stage: "ResponseComplete",
		RequestURI: request.URL.RequestURI(), Verb: call.verb, User: user{who}, UserAgent: request.UserAgent(),
		Response: responseStatus{counted.code}, Received: micro(received), Answered: micro(answered),
	}
	if call.kind != nil {
		line.ObjectRef = &objectRef{
			Resource: call.kind.plural, Namespace: call.namespace, Name: call.name, APIGroup: call.kind.group,
			APIVersion: call.kind.version, Subresource: call.subresource,
		}
		if request.Method != http.MethodGet {
			r.churn.answered(call, counted.code, answered)
		}
	}
	content := append(encode(line), '\n')
	r.lock.Lock()
	defer r.lock.Unlock()
	_, _ = r.log.Write(content)
}

func micro(at time.Time) string { return at.UTC().Format("2006-01-02T15:04:05.000000Z") }

// codeWriter remembers the code of the answer.
type codeWriter struct {
	http.ResponseWriter
	code int
}

func (c *codeWriter) WriteHeader(code int) {
	c.code = code
	c.ResponseWriter.WriteHeader(code)
}

// Unwrap lets http.ResponseController flush.
func (c *codeWriter) Unwrap() http.ResponseWriter { return c.ResponseWriter }
