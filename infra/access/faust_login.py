"""How Faust's agents reach a Kafka with TLS or a login: the same settings as for our own clients."""

import ssl

from faust.auth import Credentials, SASLCredentials, SSLCredentials

from infra.settings import Kafka


def faust_credentials(kafka: Kafka) -> Credentials | None:
    """None where the broker is reached in the open."""
    context = None
    if kafka.security_protocol in {"ssl", "sasl_ssl"}:
        context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=kafka.ca_file or None)
    if kafka.security_protocol.startswith("sasl"):
        return SASLCredentials(
            username=kafka.username, password=kafka.password.get_secret_value(), ssl_context=context,
            mechanism=kafka.sasl_mechanism or None,
        )  # fmt: skip
    return None if context is None else SSLCredentials(context)
