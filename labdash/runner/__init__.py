"""What `deploy/up` starts and watches. Knows no Django."""
