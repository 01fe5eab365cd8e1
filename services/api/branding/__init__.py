"""How a tenant's pages look: name, colours, logo."""
