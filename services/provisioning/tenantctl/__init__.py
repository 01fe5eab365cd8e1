"""`tenantctl`: tenants from the command line, from the first name to the last dump.

In:  arguments, an answers file, a manifest pack, secrets from the environment or a file.
Out: a tenant on the platform (over provisioning's HTTP), and a directory with one `.env` for its own stack.

Promises: it never asks unless a person sits there; what is missing is said before anything is made; killed
anywhere, the same call again finishes; no secret is ever printed.
"""
