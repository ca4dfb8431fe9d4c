package main

import (
	"fmt"
	"strings"
)

// advice says what to do about an error of a broker or of the system, which itself names only what went wrong; empty for one
// that says so already, or is not known. It goes by the text, as errors of sources come joined in one.
func (a *app) advice(err error) string {
	text := err.Error()
	brokers := "the brokers"
	if a.settings != nil {
		brokers = fmt.Sprint(a.settings.Kafka.Brokers)
	}
	for _, known := range []struct{ sign, instead, advice string }{
		{"unable to dial: ", "", "no broker answers at " + brokers + " (kafka.brokers): start it or name another by --brokers; `tapewatch up` runs one of its own"},
		{"UNKNOWN_TOPIC_OR_PARTITION", "topics apply", "the topics are missing there, or kafka.prefix is another: `tapewatch topics plan` shows which, `tapewatch topics apply` makes them"},
		{"SASL_AUTHENTICATION_FAILED", "", "the brokers do not take the login: check kafka.user and kafka.password"},
		{"UNSUPPORTED_SASL_MECHANISM", "", "the brokers do not know this login: kafka.sasl must be a mechanism that they offer"},
		{"_AUTHORIZATION_FAILED", "", "kafka.user lacks a right: docs/kafka.md lists those that each part needs"},
		{"is SASL missing?", "", "the brokers want a login: set kafka.sasl, kafka.user and kafka.password"},
		{"is TLS misconfigured", "", "kafka.tls is true, and these brokers do not speak TLS on this port"},
		{"speaking to a tls endpoint", "", "these brokers speak TLS on this port: set kafka.tls"},
		{"tls: failed to verify certificate", "", "the brokers' certificate is of an authority that is not trusted: name its file in kafka.tls_ca"},
		{"/subjects", "", "the schema registry refuses or does not answer: check kafka.schema_registry, kafka.registry_user and kafka.registry_password"},
		{"address already in use", "another address", "another process has that port; is tapewatch running already?"},
	} {
		if strings.Contains(text, known.sign) && (known.instead == "" || !strings.Contains(text, known.instead)) {
			return known.advice
		}
	}
	return ""
}
