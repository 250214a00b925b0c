// A recording server: as much of the Kubernetes API as the operator and its rivals ask for, in memory, fast enough that
// who is measured ends first, not who serves. For sizes and churn that a real control plane on the same machine cannot
// hold.
//
//	recording-server --listen 127.0.0.1:15000 --certificate server.crt --key server.key --record audit.log
//
// What it does: lists in pages, each list one version of the whole; watches with bookmarks, initial events, and 410
// where a version is forgotten; get, create, replace, merge patch, delete with preconditions; server-side apply with
// field managers, so that managedFields tell whose doing a field is; the status subresource; generations, versions,
// uids; the defaults of Services and NetworkPolicies, and of the CRDs that it was given. Objects alone as
// PartialObjectMetadata, lists and watches too. Discovery. Every request becomes a line of an audit log as the API
// server writes it, so that the same observer reads both.
//
// What it does not do: it checks nothing (no validation, no schemas but their defaults, no unknown fields), asks no
// admission, and lets everybody do everything: a bearer token is taken for the name of its user. No controllers: no
// garbage is collected, no EndpointSlices are made of pods, and what a finalizer holds cannot be deleted. Lists are
// owned and replaced whole, but for ownerReferences. No selectors but the presence of one label, no JSON patches, no
// strategic merge of lists, no protobuf, no YAML. Nothing is kept on a disk, so a write costs what JSON costs. Node
// ports are given out again after 55,000. What it does not know it refuses, with 501, rather than to guess.
//
// Beside the API it has three addresses of its own, for the bench:
//
//	POST /recording/world    {"sets": {"guarded": {"count": 5000, "templates": [...]}}}: everything but CRDs is
//	                         forgotten, and made anew; in templates, NUMBER, GROUP (of `perGroup`),
//	                         POD_ADDRESS and NODE_ADDRESS are replaced
//	POST /recording/churn    {"slices": {"guarded": 50}, "heartbeats": {"nodes": 10}, "drifts": {"guarded": 5}}: so many
//	                         changes a second of each set from now on; figures begin anew
//	GET  /recording/figures  what was changed and repaired since, how late, and how many writes others sent
package main

import (
	"crypto/tls"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "address to serve at")
	certificate := flag.String("certificate", "", "file with the server's certificate")
	key := flag.String("key", "", "file with its key")
	record := flag.String("record", "", "file that the audit log goes to")
	flag.Parse()
	if err := run(*listen, *certificate, *key, *record); err != nil {
		fmt.Fprintln(os.Stderr, "recording-server:", err)
		os.Exit(1)
	}
}

func run(listen, certificate, key, record string) error {
	pair, err := tls.LoadX509KeyPair(certificate, key)
	if err != nil {
		return err
	}
	log, err := os.OpenFile(record, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	listener, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	store := newStore()
	churn := newChurn(store)
	server := &http.Server{
		Handler:   &recorder{log: log, next: newAPI(store, churn), churn: churn},
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{pair}, NextProtos: []string{"h2", "http/1.1"}},
	}
	return server.ServeTLS(listener, "", "")
}
