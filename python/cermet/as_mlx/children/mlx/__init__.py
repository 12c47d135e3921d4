"""What a process finds as mlx that was started by one with `cermet.as_mlx`: Cermet again."""

import cermet.as_mlx  # noqa: F401
