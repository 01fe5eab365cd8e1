"""How a box comes in, stays in, and is put out: authority, tokens, certificates, simple devices' credentials.

In:  a token and a certificate request (or a current certificate) on port 8443, administrators on 8081.
Out: the tables enrol_token, certificate, activation_code, device_token, session_cut; the list of the revoked.

Promises: a token is redeemed by one key only, and that key gets the same certificate again while the token's
time lasts; a certificate names what the registry says and nothing of what the request says; what was revoked
stays revoked until a person issues a new token. Keys of boxes are made on boxes and never seen here.
"""
