"""The api: the operators' door. It knows who asks, and shows a tenant its own.

In:  HTTP on port 3001 with a bearer token; without one, a program on this machine reads the default tenant.
Out: what the tables of all services say about the caller's tenant; a dispatch goes on to the controller,
     which owns it, and a change of who belongs to provisioning, over internal addresses, in the caller's
     name and for the caller's tenant; who dispatched what goes into the audit log.
     A task beside the door seals the audit log every second and tells the chain's head to Kafka.

Promises: the tenant comes from the token alone, one that is disabled is shut out from the next request on,
and every statement runs as role `api` with that tenant set, so that a query that forgot its filter still
shows one tenant. Every error says what would be right. Readiness names the migration that is missing. One
folder a noun: endpoints, schemas, store.
"""
