"""Keys and queues of a node in the store: all of them begin with ``node:<slug>:``."""

# No slug holds an "@" or a ":", so "@hub" and a key's separator can never be mistaken for one.
HUB_NODE = "@hub"


def orders_queue(slug: str) -> str:
    """Name the Celery queue of a node."""
    return f"node:{slug}:orders"


def reports_key(slug: str) -> str:
    """Name the stream on which a node reports."""
    return f"node:{slug}:reports"


def spec_key(slug: str) -> str:
    """Name the key that holds the ``NodeSpec`` of a node, written by the hub."""
    return f"node:{slug}:spec"


def hub_nodes_key() -> str:
    """Name the key that holds the list of ``NodeSpec`` served from the hub."""
    return f"node:{HUB_NODE}:nodes"


def watched_key(slug: str) -> str:
    """Name the short-lived key that exists while somebody looks at the node's pages."""
    return f"node:{slug}:watched"


def cancel_key(slug: str, job_id: int) -> str:
    """Name the key whose existence asks the node to stop a job."""
    return f"node:{slug}:cancel:{job_id}"


def load_cancel_key(slug: str, job_id: int) -> str:
    """Name the key whose existence asks the node to stop a load; its numbers are not of pulls."""
    return f"node:{slug}:cancel:load-{job_id}"


def apply_cancel_key(slug: str, job_id: int) -> str:
    """Name the key whose existence asks the node to stop making or deleting a name."""
    return f"node:{slug}:cancel:apply-{job_id}"


def name_cancel_key(slug: str, job_id: int) -> str:
    """Name the key whose existence asks the node to stop what somebody does to a name by hand."""
    return f"node:{slug}:cancel:name-{job_id}"


def try_prompt_key(slug: str, try_id: str) -> str:
    """Name the key that holds a prompt until the node takes it."""
    return f"node:{slug}:try:{try_id}:prompt"


def try_wish_key(slug: str, try_id: str) -> str:
    """Name the key that exists while somebody waits for an answer."""
    return f"node:{slug}:try:{try_id}:wish"


def try_answer_key(slug: str, try_id: str) -> str:
    """Name the key to which the node writes an answer."""
    return f"node:{slug}:try:{try_id}:answer"


def find_wish_key() -> str:
    """Name the key that holds the id of the look for servers that is wanted."""
    return f"node:{HUB_NODE}:find"


def found_key() -> str:
    """Name the key to which the worker on the hub writes what it found in the network."""
    return f"node:{HUB_NODE}:found"
