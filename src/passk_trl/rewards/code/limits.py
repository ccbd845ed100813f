"""What a program may use."""

from dataclasses import dataclass, fields


@dataclass(frozen=True)
class CodeLimits:
    """
    What the program of a completion may use.

    Args:
        seconds (`float`, *optional*, defaults to `10.0`):
            Time of one run: of all asserts, or of all calls of a function, or of a script with one input.
        cpu_seconds (`int`, *optional*, defaults to `10`):
            Processor time of one run.
        memory_mb (`int`, *optional*, defaults to `1024`):
            Address space, Python's own included.
        file_mb (`int`, *optional*, defaults to `16`):
            What it may write to its folder, which is empty at the start and removed at the end.
        threads (`int`, *optional*, defaults to `16`):
            Threads at once. It can start no process at all. As another user than root, this needs user namespaces;
            where the kernel refuses them, memory alone limits the threads.
        packages (`bool`, *optional*, defaults to `False`):
            Whether it may import the installed packages, such as numpy, and so read all that is in `site-packages`.
        confined (`bool`, *optional*, defaults to `True`):
            Whether to refuse to run programs where Linux cannot confine them, by Landlock and seccomp. If `False`,
            they run with what there is. They can then read and change the files of their user.
    """

    seconds: float = 10.0
    cpu_seconds: int = 10
    memory_mb: int = 1024
    file_mb: int = 16
    threads: int = 16
    packages: bool = False
    confined: bool = True

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not isinstance(value, bool) and value <= 0:
                raise ValueError(f"{field.name} is {value}: set it to a number above 0.")
        if self.memory_mb < 64:
            raise ValueError(f"memory_mb is {self.memory_mb}: set it to at least 64, which Python itself needs.")
