"""Why estimates of posted loads are off by more than 5 %: each looked up in its row."""

F32_MASKS = (
    "build not posted, older than the planner's: masks of n_ctx x n_ubatch x 4 B and one or two "
    "batches of embeddings, n_embd x n_ubatch x 4 B, are all of it"
)
V_BESIDE = "this fork's switch keeps V beside the compressed K: 576 + 512 elements in place of 576"
UNEXPLAINED = "unexplained"

# By row and figure.
REASONS = {
    ("m022", "compute, host"): F32_MASKS,
    ("m052", "compute"): f"{UNEXPLAINED}; an engine of 2024 with masks in f32",
    ("m052", "compute, host"): F32_MASKS,
    ("m080", "compute"): f"build not posted; masks in f32 are 8 MiB of it, 41 {UNEXPLAINED}",
    ("m080", "compute, host"): F32_MASKS,
    ("m081", "compute"): "build not posted, some experts in RAM; masks in f32 are 196 MiB of it, "
    f"25 {UNEXPLAINED}",
    ("m081", "compute, host"): F32_MASKS,
    ("m115", "compute, host"): F32_MASKS,
    ("m169", "compute"): "an engine of 2024, whose cache takes no row indices of V: "
    "4096 x 512 x 8 B = 16 MiB",
    ("m169", "compute, host"): "the same; the host held one batch of embeddings, 8 MiB, alone",
    ("m283", "KV"): V_BESIDE,
    ("m288", "KV"): V_BESIDE,
}
