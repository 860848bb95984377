"""Pages about the interfaces, made from the code: settings, REST (OpenAPI) and WebSockets (AsyncAPI)."""
