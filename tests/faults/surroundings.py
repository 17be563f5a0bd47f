"""What the fault test does to workers, brokers and Redis: each kind of fault is one function here.

A group fault makes the group's members, or the log, go away: the next one waits until everybody is ready again, so that each
recovery is of one fault. A side fault (Redis, clock, descriptors, threads, connections) runs beside them."""
import ctypes
import mmap
import os
import resource
import signal
import socket
import struct
import subprocess
import threading
import time

here = os.path.dirname(os.path.abspath(__file__))
DEPLOY = os.path.join(here, "..", "..", "deploy")
SESSION_S = 6               # session.timeout.ms of the workers
MAX_POLL_S = 8              # max.poll.interval.ms, as faults.py sets it
GROUP = {"kill": 6, "stop": 3, "pause": 1, "drain": 3, "cut": 2, "slow": 1, "stall": 1,
         "broker_kill": 2, "broker_stop": 2, "broker_full": 1}    # kind -> weight
SIDE = {"redis_kill": 1, "redis_flush": 1, "redis_readonly": 1, "redis_stop": 1, "redis_full": 1, "redis_noscript": 1, "redis_wrongtype": 1,
        "clock_forward": 1, "clock_back": 1, "descriptors": 1, "threads": 1, "reset": 1}


class Page:
    """The page that a worker's shim reads (shim.c)."""
    FORM = "<qiiiii4i"

    def __init__(self, path, ports):
        self.path, self.ports = path, (ports + [0] * 4)[:4]
        self.clock_ms = self.no_threads = self.cut = self.slow = self.stall = 0
        with open(path, "wb") as file:
            file.write(b"\0" * mmap.PAGESIZE)
        with open(path, "r+b") as file:
            self.memory = mmap.mmap(file.fileno(), mmap.PAGESIZE)
        self.write()

    def write(self, **changes):
        self.__dict__.update(changes)
        self.memory[:struct.calcsize(self.FORM)] = struct.pack(self.FORM, self.clock_ms, self.no_threads, self.cut, self.slow,
                                                                     self.stall, 0, *self.ports)


def cpu_seconds(pid):
    try:
        with open("/proc/%d/stat" % pid) as file:
            fields = file.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    except OSError:
        return None


def peak_mib(pid):
    try:
        with open("/proc/%d/status" % pid) as file:
            return max(int(line.split()[1]) for line in file if line.startswith("VmHWM")) / 1024
    except (OSError, ValueError):
        return 0


def reset_connections(pid, ports):
    """Shuts every connection of a process to these ports down, from outside."""
    libc, n = ctypes.CDLL(None), 0
    pidfd = os.pidfd_open(pid)
    for name in os.listdir("/proc/%d/fd" % pid):
        try:
            if not os.readlink("/proc/%d/fd/%s" % (pid, name)).startswith("socket:"):
                continue
        except OSError:
            continue
        fd = libc.syscall(438, pidfd, int(name), 0) # pidfd_getfd
        if fd < 0:
            continue
        with socket.socket(fileno=fd) as s:
            try:
                if s.getpeername()[1] in ports:
                    s.shutdown(socket.SHUT_RDWR)
                    n += 1
            except (OSError, IndexError, TypeError):
                pass
    os.close(pidfd)
    return n


class Surroundings:
    def __init__(self, arguments, rng, keeper):
        self.work, self.rng, self.keeper = arguments.work, rng, keeper
        self.brokers, self.disk = arguments.brokers, arguments.disk
        self.host, self.port = arguments.redis.rsplit(":", 1)
        self.node = 0
        self.sending = threading.Lock() # held by who sends jobs, and while a broker is away
        self.broker_away = []       # (from, to) in seconds, of time.time()
        self.broker_kinds = []      # of each the fault
        self.pauses = []            # (worker, fault, from, to)
        self.away_cpu = []          # a worker's share of one core while no broker answers
        self.stalled = []           # workers whose log thread came too late
        self.done = []              # (kind, at)

    def kinds(self, table):
        return {k: n for k, n in table.items() if k != "broker_full" or (self.disk and self.brokers == 1)}

    def run(self, kind):
        self.done.append((kind, time.time()))
        getattr(self, kind)()

    # --- workers ---

    def kill(self):
        worker = self.keeper.pick(self.rng)
        self.keeper.dies(worker, "kill")
        worker.process.kill()
        time.sleep(SESSION_S + 1.5)

    def drain(self):
        worker = self.keeper.pick(self.rng)
        self.keeper.dies(worker, "drain")
        worker.process.send_signal(signal.SIGTERM)
        try:
            worker.process.wait(30)
        except subprocess.TimeoutExpired:
            pass                    # its exit code is judged at the end

    def halt(self, kind, seconds):
        worker = self.keeper.pick(self.rng)
        begin = time.time()
        worker.process.send_signal(signal.SIGSTOP)
        time.sleep(seconds)
        worker.process.send_signal(signal.SIGCONT)
        self.pauses.append((worker.name, kind, begin, time.time()))
        time.sleep(2)

    def stop(self):
        """Longer than its session: it wakes up as a zombie."""
        self.halt("stop", SESSION_S + self.rng.uniform(2, 4))

    def pause(self):
        """Shorter: it is still a member, and late."""
        self.halt("pause", self.rng.uniform(1, 3))

    def during(self, page, seconds, after):
        """A fault that the worker's page holds for so long, and some time to heal. Its name."""
        worker = self.keeper.pick(self.rng)
        begin = time.time()
        worker.page.write(**{page: 1})
        time.sleep(seconds)
        worker.page.write(**{page: 0})
        self.pauses.append((worker.name, page, begin, time.time()))
        time.sleep(after)
        return worker.name

    def cut(self):
        self.during("cut", self.rng.choice([2, SESSION_S + 2]), 3)

    def slow(self):
        """A link that takes a byte at a time, for a while."""
        self.during("slow", self.rng.uniform(2, SESSION_S), 2)

    def stall(self):
        """Its log thread comes too late to poll, while its heartbeats go on: the client leaves the group by itself, and joins again."""
        self.stalled.append(self.during("stall", MAX_POLL_S + 2, 2))

    # --- brokers ---

    def broker_pid(self):
        with open("%s/kafka/%d.pid" % (self.work, self.node + 1)) as file:
            return int(file.read())

    def start_brokers(self):
        # twice: a node that is still going away holds its port
        for _ in range(20):
            start = [DEPLOY + "/kafka/start", "--data", self.work + "/kafka"]
            if subprocess.run(start, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0:
                return
            time.sleep(0.5)
        raise RuntimeError("the broker does not start again")

    def away(self, begin, kind):
        self.broker_away.append((begin, time.time()))
        self.broker_kinds.append(kind)
        time.sleep(3 if self.brokers == 1 else 12)     # three: until the node is in sync again, so that the next may go
        self.node = (self.node + 1) % self.brokers

    def broker_kill(self):
        with self.sending:
            begin = time.time()
            os.kill(self.broker_pid(), signal.SIGKILL)
            time.sleep(self.rng.uniform(0.2, 3))
            self.start_brokers()
        self.away(begin, "broker_kill")

    def broker_stop(self):
        with self.sending:
            begin, pid = time.time(), self.broker_pid()
            os.kill(pid, signal.SIGSTOP)
            time.sleep(self.rng.uniform(3, SESSION_S + 2))
            os.kill(pid, signal.SIGCONT)
        self.away(begin, "broker_stop")

    def broker_still(self):
        """Stopped for long enough that every job of before has been computed: what the workers still burn is waiting."""
        begin, pid = time.time(), self.broker_pid()
        os.kill(pid, signal.SIGSTOP)
        time.sleep(4)
        before = {w: cpu_seconds(w.process.pid) for w in self.keeper.workers}
        time.sleep(5)
        after = {w: cpu_seconds(w.process.pid) for w in before}
        self.away_cpu = [(after[w] - before[w]) / 5 for w in before if before[w] is not None and after[w] is not None]
        os.kill(pid, signal.SIGCONT)
        self.away(begin, "broker_still")

    def fill(self, path):
        with open(path, "wb") as file:
            try:
                while True:
                    file.write(b"\0" * (1 << 20))
                    file.flush()
            except OSError:
                pass

    def broker_full(self):
        with self.sending:
            begin, path = time.time(), self.work + "/kafka/filler"
            self.fill(path)
            time.sleep(4)
            os.unlink(path)
            try:
                os.kill(self.broker_pid(), signal.SIGKILL)  # a broker whose disk was full ends, or is better ended
            except ProcessLookupError:
                pass
            time.sleep(0.3)
            self.start_brokers()
        self.away(begin, "broker_full")

    # --- Redis ---

    def redis(self, *words):
        subprocess.run(["redis-cli", "-h", self.host, "-p", self.port, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=20)

    def redis_pid(self):
        with open(self.work + "/redis/redis.pid") as file:
            return int(file.read())

    def redis_kill(self):
        os.kill(self.redis_pid(), signal.SIGKILL)
        time.sleep(2)
        subprocess.run([DEPLOY + "/redis/start", "--data", self.work + "/redis", "--port", self.port], stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL, check=True)

    def redis_stop(self):
        os.kill(self.redis_pid(), signal.SIGSTOP)
        time.sleep(4)
        os.kill(self.redis_pid(), signal.SIGCONT)

    def redis_flush(self):
        self.redis("FLUSHALL")

    def redis_readonly(self):
        """As after a failover: a replica of a master that is not there."""
        self.redis("REPLICAOF", "127.0.0.1", "1")
        time.sleep(3)
        self.redis("REPLICAOF", "NO", "ONE")

    def redis_full(self):
        self.redis("CONFIG", "SET", "maxmemory", "1")
        time.sleep(3)
        self.redis("CONFIG", "SET", "maxmemory", "0")

    def redis_noscript(self):
        self.redis("SCRIPT", "FLUSH")

    def redis_wrongtype(self):
        for i in range(20):
            self.redis("SET", "mr:{acme/job-%d}" % self.rng.randrange(2000), "not a hash")

    # --- a worker's surroundings ---

    def clock(self, ms):
        worker = self.keeper.pick(self.rng)
        worker.page.write(clock_ms=ms)
        time.sleep(3)

    def clock_forward(self):
        self.clock(3600 * 1000)

    def clock_back(self):
        self.clock(-3600 * 1000)

    def descriptors(self):
        """No descriptor is left just when its connections break."""
        worker = self.keeper.pick(self.rng)
        pid = worker.process.pid
        try:
            before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (8, before[1])) # what is open stays open
            reset_connections(pid, self.ports())
            time.sleep(3)
            resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
        except (OSError, ValueError):
            pass                    # it has been killed meanwhile

    def threads(self):
        worker = self.keeper.pick(self.rng)
        worker.page.write(no_threads=1)
        self.break_connections(worker)
        time.sleep(3)
        worker.page.write(no_threads=0)

    def reset(self):
        self.break_connections(self.keeper.pick(self.rng))

    def break_connections(self, worker):
        try:
            reset_connections(worker.process.pid, self.ports())
        except OSError:
            pass

    def ports(self):
        return [int(b.rsplit(":", 1)[1]) for b in os.environ["KAFKA_BOOTSTRAP"].split(",")] + [int(self.port)]

    def heal(self):
        """Whatever a fault that was cut short has left behind."""
        for pid in [self.redis_pid()]:
            try:
                os.kill(pid, signal.SIGCONT)
            except ProcessLookupError:
                pass
