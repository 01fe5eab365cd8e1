"""What can be watched of enrolment."""

from typing import Final

from prometheus_client import Counter, Gauge

ENROLMENTS: Final = Counter(
    "provisioning_enrolments_total", "Answered requests for a certificate, by outcome", ["outcome"]
)
"""enrol | replace | renew | again, or the reason of a refusal."""
LIMITED: Final = Counter(
    "provisioning_enrolment_limited_total", "Requests turned away after too many failures", ["by"]
)
ACTIVATIONS: Final = Counter("provisioning_activations_total", "Activation codes tried", ["outcome"])
CRL_AGE: Final = Gauge(
    "provisioning_crl_age_seconds", "Age of the revocation list; at 7 days it locks everybody out"
)
CRL_REVOKED: Final = Gauge("provisioning_crl_revoked", "Certificates on the revocation list")
DOOR_CERTIFICATE: Final = Gauge(
    "provisioning_door_certificate_expiry_timestamp", "Unix time at which the door's certificate ends"
)
