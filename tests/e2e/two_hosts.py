# SPDX-License-Identifier: Apache-2.0
"""Two "hosts" on one machine: network namespaces with a cable between them and a hostname of their own each."""
import json
import os
import shutil
import subprocess


class TwoHosts:
    """Made by start(), which skips the test with the reason where the machine does not allow it."""

    NAMES = ("lannerC", "lannerD")
    ADDRESSES = ("10.77.214.1", "10.77.214.2")

    def start(self, test):
        missing = [tool for tool in ("ip", "tc", "unshare", "hostname", "taskset") if shutil.which(tool) is None]
        if missing:
            test.skipTest(f"two hosts are made with {', '.join(missing)}, which this machine lacks")
        self.remove()
        a, b = self.NAMES
        # The card sorts behind "lo", which must not matter.
        for command in (f"ip netns add {a}", f"ip netns add {b}",
                        "ip link add lannerC0 type veth peer name lannerD0",
                        f"ip link set lannerC0 netns {a} name zz0", f"ip link set lannerD0 netns {b} name zz0",
                        *(f"ip -n {n} addr add {address}/24 dev zz0"
                          for n, address in zip(self.NAMES, self.ADDRESSES, strict=True)),
                        *(f"ip -n {n} link set {i} up" for n in self.NAMES for i in ("lo", "zz0"))):
            done = subprocess.run(command.split(), capture_output=True, text=True, check=False)
            if done.returncode != 0:
                self.remove()
                test.skipTest(f"network namespaces cannot be made here: {command}: {done.stderr.strip()}")
        test.addCleanup(self.remove)

    def remove(self):
        for name in self.NAMES:
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)
        subprocess.run(["ip", "link", "del", "lannerC0"], capture_output=True, check=False)

    def slow_down(self, test, rate="1gbit"):
        for name in self.NAMES:
            command = f"tc -n {name} qdisc add dev zz0 root tbf rate {rate} burst 256kb latency 50ms"
            done = subprocess.run(command.split(), capture_output=True, text=True, check=False)
            if done.returncode != 0:
                test.skipTest(f"the cable cannot be slowed down here: {done.stderr.strip()}")

    def prefix(self, host):
        """Words before a command that run it on a host, on a CPU of its own."""
        name = self.NAMES[host]
        # The two machines share their CPUs.
        cpus = sorted(os.sched_getaffinity(0))
        return ["ip", "netns", "exec", name, "unshare", "--uts", "sh", "-c",
                f'hostname {name}; exec taskset -c {cpus[host % len(cpus)]} "$@"', "sh"]

    def sent_bytes(self, host):
        out = subprocess.run(["ip", "-n", self.NAMES[host], "-j", "-s", "link", "show", "zz0"], capture_output=True,
                             check=True)
        return json.loads(out.stdout)[0]["stats64"]["tx"]["bytes"]
