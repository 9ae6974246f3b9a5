"""What runs inside of the sandbox, as `python -c TEXT JOB VERDICT`: it limits itself, gives up its user, and runs the
program.

JOB and VERDICT are open files by their numbers. The first holds the job as JSON. "begun" is written to the second, and
of a test that is code the job's token, once it has passed. It imports nothing of this project, which cannot be seen
there.
"""

import json
import os
import resource
import sys


def main() -> None:
    """Run the job."""
    job_file, verdict = map(int, sys.argv[1:])
    with os.fdopen(job_file, encoding="utf-8") as file:
        job = json.load(file)
    for name, most in job["limits"].items():
        resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (most, most))
    if job["uid"] is not None:
        os.setgroups([])
        os.setgid(job["uid"])
        os.setuid(job["uid"])
    run, write = exec, os.write  # what the program puts in their place changes nothing
    write(verdict, b"begun\n")
    is_main = job["test"] is None
    names = {"__name__": "__main__" if is_main else "program"}
    test = compile("" if is_main else job["test"], "test.py", "exec")
    sys.argv = ["program.py"]
    run(compile(job["program"], "program.py", "exec"), names)
    if not is_main:
        run(test, names)
        write(verdict, job["token"].encode())


main()
