//! Broker settings of security (no TLS, SASL or ACLs yet). Those of Apache Kafka 4.3.

use crate::config::definition::{Valid, definitions};

definitions! {
    /// Broker settings of security (no TLS, SASL or ACLs yet).
    SECURITY:

    "authorizer.class.name", String, Some(""), Valid::Any, Low, ReadOnly, Refused,
        "The class that authorizes requests; there is none yet, so a value is refused.";
    "connection.failed.authentication.delay.ms", Int, Some("100"), Valid::AtLeast(0), Low, ReadOnly, Accepted,
        "Connection close delay on failed authentication: this is the time (in milliseconds) by which \
         connection close will be delayed on authentication failure.";
    "connections.max.reauth.ms", Long, Some("0"), Valid::Any, Medium, ReadOnly, Refused,
        "When explicitly set to a positive number (the default is 0, not a positive number), a session \
         lifetime that will not exceed the configured value will be communicated to v2.2.0 or later clients \
         when they authenticate.";
    "delegation.token.expiry.check.interval.ms", Long, Some("3600000"),
        Valid::AtLeast(1), Low, ReadOnly, Accepted,
        "Scan interval to remove expired delegation tokens.";
    "delegation.token.expiry.time.ms", Long, Some("86400000"), Valid::AtLeast(1), Medium, ReadOnly, Accepted,
        "The token validity time in milliseconds before the token needs to be renewed.";
    "delegation.token.max.lifetime.ms", Long, Some("604800000"),
        Valid::AtLeast(1), Medium, ReadOnly, Accepted,
        "The token has a maximum lifetime beyond which it cannot be renewed anymore.";
    "delegation.token.secret.key", Password, None, Valid::Any, Medium, ReadOnly, Refused,
        "Secret key to generate and verify delegation tokens.";
    "principal.builder.class", Class, None, Valid::Any, Medium, PerBroker, Refused,
        "The fully qualified name of a class that implements the KafkaPrincipalBuilder interface, which is \
         used to build the KafkaPrincipal object used during authorization.";
    "sasl.client.callback.handler.class", Class, None, Valid::Any, Medium, ReadOnly, Accepted,
        "The fully qualified name of a SASL client callback handler class that implements the \
         AuthenticateCallbackHandler interface.";
    "sasl.enabled.mechanisms", List, Some("GSSAPI"), Valid::Any, Medium, PerBroker, Accepted,
        "The list of SASL mechanisms enabled in the Kafka server.";
    "sasl.jaas.config", Password, None, Valid::Any, Medium, PerBroker, Accepted,
        "JAAS login context parameters for SASL connections in the format used by JAAS configuration \
         files.";
    "sasl.kerberos.kinit.cmd", String, Some("/usr/bin/kinit"), Valid::Any, Medium, PerBroker, Accepted,
        "Kerberos kinit command path.";
    "sasl.kerberos.min.time.before.relogin", Long, Some("60000"), Valid::Any, Medium, PerBroker, Accepted,
        "Login thread sleep time between refresh attempts.";
    "sasl.kerberos.principal.to.local.rules", List, Some("DEFAULT"), Valid::Any, Medium, PerBroker, Accepted,
        "A list of rules for mapping from principal names to short names (typically operating system \
         usernames).";
    "sasl.kerberos.service.name", String, None, Valid::Any, Medium, PerBroker, Accepted,
        "The Kerberos principal name that Kafka runs as.";
    "sasl.kerberos.ticket.renew.jitter", Double, Some("0.05"), Valid::Any, Medium, PerBroker, Accepted,
        "Percentage of random jitter added to the renewal time.";
    "sasl.kerberos.ticket.renew.window.factor", Double, Some("0.8"), Valid::Any, Medium, PerBroker, Accepted,
        "Login thread will sleep until the specified window factor of time from last refresh to ticket's \
         expiry has been reached, at which time it will try to renew the ticket.";
    "sasl.login.callback.handler.class", Class, None, Valid::Any, Medium, ReadOnly, Accepted,
        "The fully qualified name of a SASL login callback handler class that implements the \
         AuthenticateCallbackHandler interface.";
    "sasl.login.class", Class, None, Valid::Any, Medium, ReadOnly, Accepted,
        "The fully qualified name of a class that implements the Login interface.";
    "sasl.login.connect.timeout.ms", Int, None, Valid::Any, Low, ReadOnly, Accepted,
        "The (optional) value in milliseconds for the external authentication provider connection \
         timeout.";
    "sasl.login.read.timeout.ms", Int, None, Valid::Any, Low, ReadOnly, Accepted,
        "The (optional) value in milliseconds for the external authentication provider read timeout.";
    "sasl.login.refresh.buffer.seconds", Short, Some("300"), Valid::Any, Medium, PerBroker, Accepted,
        "The amount of buffer time before credential expiration to maintain when refreshing a credential, \
         in seconds.";
    "sasl.login.refresh.min.period.seconds", Short, Some("60"), Valid::Any, Medium, PerBroker, Accepted,
        "The desired minimum time for the login refresh thread to wait before refreshing a credential, in \
         seconds.";
    "sasl.login.refresh.window.factor", Double, Some("0.8"), Valid::Any, Medium, PerBroker, Accepted,
        "Login refresh thread will sleep until the specified window factor relative to the credential's \
         lifetime has been reached, at which time it will try to refresh the credential.";
    "sasl.login.refresh.window.jitter", Double, Some("0.05"), Valid::Any, Medium, PerBroker, Accepted,
        "The maximum amount of random jitter relative to the credential's lifetime that is added to the \
         login refresh thread's sleep time.";
    "sasl.login.retry.backoff.max.ms", Long, Some("10000"), Valid::Any, Low, ReadOnly, Accepted,
        "The (optional) value in milliseconds for the maximum wait between login attempts to the external \
         authentication provider.";
    "sasl.login.retry.backoff.ms", Long, Some("100"), Valid::Any, Low, ReadOnly, Accepted,
        "The (optional) value in milliseconds for the initial wait between login attempts to the external \
         authentication provider.";
    "sasl.mechanism.controller.protocol", String, Some("GSSAPI"), Valid::Any, High, ReadOnly, Accepted,
        "SASL mechanism used for communication with controllers.";
    "sasl.mechanism.inter.broker.protocol", String, Some("GSSAPI"), Valid::Any, Medium, PerBroker, Accepted,
        "SASL mechanism used for inter-broker communication.";
    "sasl.oauthbearer.assertion.algorithm", String, Some("RS256"),
        Valid::OneOfIgnoringCase(&["ES256", "RS256"]), Medium, ReadOnly, Accepted,
        "The algorithm the Apache Kafka client should use to sign the assertion sent to the identity \
         provider.";
    "sasl.oauthbearer.assertion.claim.aud", String, None, Valid::Any, Medium, ReadOnly, Accepted,
        "The JWT aud (Audience) claim which will be included in the client JWT assertion created locally.";
    "sasl.oauthbearer.assertion.claim.exp.seconds", Int, Some("300"),
        Valid::Between(0, 86400), Low, ReadOnly, Accepted,
        "The number of seconds in the future for which the JWT is valid.";
    "sasl.oauthbearer.assertion.claim.iss", String, None, Valid::Any, Medium, ReadOnly, Accepted,
        "The value to be used as the iss (Issuer) claim which will be included in the client JWT assertion \
         created locally.";
    "sasl.oauthbearer.assertion.claim.jti.include", Boolean, Some("false"),
        Valid::Any, Medium, ReadOnly, Accepted,
        "Flag that determines if the JWT assertion should generate a unique ID for the JWT and include it \
         in the jti (JWT ID) claim.";
    "sasl.oauthbearer.assertion.claim.nbf.seconds", Int, Some("60"),
        Valid::Between(0, 3600), Low, ReadOnly, Accepted,
        "The number of seconds in the past from which the JWT is valid.";
    "sasl.oauthbearer.assertion.claim.sub", String, None, Valid::Any, Medium, ReadOnly, Accepted,
        "The value to be used as the sub (Subject) claim which will be included in the client JWT \
         assertion created locally.";
    "sasl.oauthbearer.assertion.file", String, None, Valid::Any, Medium, ReadOnly, Accepted,
        "File that contains a pre-generated JWT assertion.";
    "sasl.oauthbearer.assertion.private.key.file", String, None, Valid::Any, Medium, ReadOnly, Accepted,
        "File that contains a private key in the standard PEM format which is used to sign the JWT \
         assertion sent to the identity provider.";
    "sasl.oauthbearer.assertion.private.key.passphrase", Password, None,
        Valid::Any, Medium, ReadOnly, Accepted,
        "The optional passphrase to decrypt the private key file specified by \
         sasl.oauthbearer.assertion.private.key.file.";
    "sasl.oauthbearer.assertion.template.file", String, None, Valid::Any, Medium, ReadOnly, Accepted,
        "This optional configuration specifies the file containing the JWT headers and/or payload claims \
         to be used when creating the JWT assertion.";
    "sasl.oauthbearer.client.credentials.client.id", String, None, Valid::Any, Medium, ReadOnly, Accepted,
        "The ID (defined in/by the OAuth identity provider) to identify the client requesting the token.";
    "sasl.oauthbearer.client.credentials.client.secret", Password, None,
        Valid::Any, Medium, ReadOnly, Accepted,
        "The secret (defined by either the user or preassigned, depending on the identity provider) of the \
         client requesting the token.";
    "sasl.oauthbearer.clock.skew.seconds", Int, Some("30"), Valid::Any, Low, ReadOnly, Accepted,
        "The (optional) value in seconds to allow for differences between the time of the OAuth/OIDC \
         identity provider and the broker.";
    "sasl.oauthbearer.expected.audience", List, Some(""), Valid::Any, High, ReadOnly, Accepted,
        "The (strongly recommended) comma-delimited setting for the broker to use to verify that the JWT \
         was issued for one of the expected audiences.";
    "sasl.oauthbearer.expected.issuer", String, None, Valid::Any, High, ReadOnly, Accepted,
        "The (strongly recommended) setting for the broker to use to verify that the JWT was created by \
         the expected issuer.";
    "sasl.oauthbearer.jwks.endpoint.refresh.ms", Long, Some("3600000"), Valid::Any, Low, ReadOnly, Accepted,
        "The (optional) value in milliseconds for the broker to wait between refreshing its JWKS (JSON Web \
         Key Set) cache that contains the keys to verify the signature of the JWT.";
    "sasl.oauthbearer.jwks.endpoint.retry.backoff.max.ms", Long, Some("10000"),
        Valid::Any, Low, ReadOnly, Accepted,
        "The (optional) value in milliseconds for the maximum wait between attempts to retrieve the JWKS \
         (JSON Web Key Set) from the external authentication provider.";
    "sasl.oauthbearer.jwks.endpoint.retry.backoff.ms", Long, Some("100"), Valid::Any, Low, ReadOnly, Accepted,
        "The (optional) value in milliseconds for the initial wait between JWKS (JSON Web Key Set) \
         retrieval attempts from the external authentication provider.";
    "sasl.oauthbearer.jwks.endpoint.url", String, None, Valid::Any, Medium, ReadOnly, Accepted,
        "The OAuth/OIDC provider URL from which the provider's JWKS (JSON Web Key Set) can be retrieved.";
    "sasl.oauthbearer.jwt.retriever.class", Class, None, Valid::Any, Medium, ReadOnly, Accepted,
        "The fully-qualified class name of a JwtRetriever implementation used to request tokens from the \
         identity provider.";
    "sasl.oauthbearer.jwt.validator.class", Class, None, Valid::Any, Medium, ReadOnly, Accepted,
        "The fully-qualified class name of a JwtValidator implementation used to validate the JWT from the \
         identity provider.";
    "sasl.oauthbearer.scope", String, None, Valid::Any, Medium, ReadOnly, Accepted,
        "This is the level of access a client application is granted to a resource or API which is \
         included in the token request.";
    "sasl.oauthbearer.scope.claim.name", String, Some("scope"), Valid::Any, Low, ReadOnly, Accepted,
        "The OAuth claim for the scope is often named \"scope\", but this (optional) setting can provide a \
         different name to use for the scope included in the JWT payload's claims if the OAuth/OIDC \
         provider uses a different name for that claim.";
    "sasl.oauthbearer.sub.claim.name", String, Some("sub"), Valid::Any, Low, ReadOnly, Accepted,
        "The OAuth claim for the subject is often named \"sub\", but this (optional) setting can provide a \
         different name to use for the subject included in the JWT payload's claims if the OAuth/OIDC \
         provider uses a different name for that claim.";
    "sasl.oauthbearer.token.endpoint.url", String, None, Valid::Any, Medium, ReadOnly, Accepted,
        "The URL for the OAuth/OIDC identity provider.";
    "sasl.server.callback.handler.class", Class, None, Valid::Any, Medium, ReadOnly, Accepted,
        "The fully qualified name of a SASL server callback handler class that implements the \
         AuthenticateCallbackHandler interface.";
    "sasl.server.max.receive.size", Int, Some("524288"), Valid::Any, Medium, ReadOnly, Accepted,
        "The maximum receive size allowed before and during initial SASL authentication.";
    "security.inter.broker.protocol", String, Some("PLAINTEXT"),
        Valid::OneOf(&["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]), Medium, ReadOnly, Refused,
        "Security protocol used to communicate between brokers.";
    "security.providers", String, None, Valid::Any, Low, ReadOnly, Refused,
        "A list of configurable creator classes each returning a provider implementing security \
         algorithms.";
    "ssl.allow.dn.changes", Boolean, Some("false"), Valid::Any, Low, ReadOnly, Accepted,
        "Indicates whether changes to the certificate distinguished name should be allowed during a \
         dynamic reconfiguration of certificates or not.";
    "ssl.allow.san.changes", Boolean, Some("false"), Valid::Any, Low, ReadOnly, Accepted,
        "Indicates whether changes to the certificate subject alternative names should be allowed during a \
         dynamic reconfiguration of certificates or not.";
    "ssl.cipher.suites", List, Some(""), Valid::Any, Medium, PerBroker, Accepted,
        "A list of cipher suites.";
    "ssl.client.auth", String, Some("none"),
        Valid::OneOf(&["required", "requested", "none"]), Medium, PerBroker, Refused,
        "Configures kafka broker to request client authentication.";
    "ssl.enabled.protocols", List, Some("TLSv1.2,TLSv1.3"), Valid::Any, Medium, PerBroker, Accepted,
        "The list of protocols enabled for SSL connections.";
    "ssl.endpoint.identification.algorithm", String, Some("https"), Valid::Any, Low, PerBroker, Accepted,
        "The endpoint identification algorithm to validate server hostname using server certificate.";
    "ssl.engine.factory.class", Class, None, Valid::Any, Low, PerBroker, Refused,
        "The class of type org.apache.kafka.common.security.auth.SslEngineFactory to provide SSLEngine \
         objects.";
    "ssl.key.password", Password, None, Valid::Any, Medium, PerBroker, Accepted,
        "The password of the private key in the key store file or the PEM key specified in \
         'ssl.keystore.key'.";
    "ssl.keymanager.algorithm", String, Some("SunX509"), Valid::Any, Medium, PerBroker, Accepted,
        "The algorithm used by key manager factory for SSL connections.";
    "ssl.keystore.certificate.chain", Password, None, Valid::Any, Medium, PerBroker, Accepted,
        "Certificate chain in the format specified by 'ssl.keystore.type'.";
    "ssl.keystore.key", Password, None, Valid::Any, Medium, PerBroker, Accepted,
        "Private key in the format specified by 'ssl.keystore.type'.";
    "ssl.keystore.location", String, None, Valid::Any, Medium, PerBroker, Accepted,
        "The location of the key store file.";
    "ssl.keystore.password", Password, None, Valid::Any, Medium, PerBroker, Accepted,
        "The store password for the key store file.";
    "ssl.keystore.type", String, Some("JKS"), Valid::Any, Medium, PerBroker, Accepted,
        "The file format of the key store file.";
    "ssl.principal.mapping.rules", String, Some("DEFAULT"), Valid::Any, Low, ReadOnly, Accepted,
        "A list of rules for mapping from distinguished name from the client certificate to short name.";
    "ssl.protocol", String, Some("TLSv1.3"), Valid::Any, Medium, PerBroker, Accepted,
        "The SSL protocol used to generate the SSLContext.";
    "ssl.provider", String, None, Valid::Any, Medium, PerBroker, Accepted,
        "The name of the security provider used for SSL connections.";
    "ssl.secure.random.implementation", String, None, Valid::Any, Low, PerBroker, Accepted,
        "The SecureRandom PRNG implementation to use for SSL cryptography operations.";
    "ssl.trustmanager.algorithm", String, Some("PKIX"), Valid::Any, Medium, PerBroker, Accepted,
        "The algorithm used by trust manager factory for SSL connections.";
    "ssl.truststore.certificates", Password, None, Valid::Any, Medium, PerBroker, Accepted,
        "Trusted certificates in the format specified by 'ssl.truststore.type'.";
    "ssl.truststore.location", String, None, Valid::Any, Medium, PerBroker, Accepted,
        "The location of the trust store file.";
    "ssl.truststore.password", Password, None, Valid::Any, Medium, PerBroker, Accepted,
        "The password for the trust store file.";
    "ssl.truststore.type", String, Some("JKS"), Valid::Any, Medium, PerBroker, Accepted,
        "The file format of the trust store file.";
}
