"""What the site says of the interfaces, made from the code: settings, REST (OpenAPI) and WebSockets (AsyncAPI)."""
