"""What the API says of itself: every route described, and the OpenAPI document made of that."""
