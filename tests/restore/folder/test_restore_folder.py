"""Tests of the pipeline of a run: batches over images, bounded memory, failures, signals and shards. The network is a fake."""

import random
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import PurePosixPath

import pytest
from processes import free_port
from tiny import tiny_frex

from frex.errors import FRExError
from frex.restore.folder.distributed import InputChannel, SharedInputs
from frex.restore.folder.inputs import Inputs
from frex.restore.folder.options import RestoreOptions
from frex.restore.folder.outputs import Outputs
from frex.restore.folder.restore_folder import collect_inputs, unsupported_flags
from frex.restore.folder.threaded_pipeline import PipelineStages, ThreadedPipeline
from frex.utils.sharding import Shard, choose_local_device, choose_shard
from frex.utils.signals import stop_on_signals


@dataclass(eq=False)
class Read:
    name: str
    faces: list


@dataclass
class Fake(PipelineStages):
    """Stages for images that are a name and a number of faces; a face is a text, and is restored to upper case."""

    sizes: dict = field(default_factory=dict)
    broken: dict = field(default_factory=dict)
    pause: float = 0.0
    batches: list = field(default_factory=list)
    records: dict = field(default_factory=dict)
    failures: dict = field(default_factory=dict)
    alive: set = field(default_factory=set)
    most_alive: int = 0
    threads: set = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def bytes_of(self, job):
        return self.sizes.get(job[0], 1)

    def stumble(self, stage, name):
        time.sleep(self.pause * random.random())
        if self.broken.get(name) == stage:
            raise FRExError(f'{name} is broken')

    def prepare(self, job):
        with self.lock:
            self.alive.add(job[0])
            self.most_alive = max(self.most_alive, sum(self.sizes.get(name, 1) for name in self.alive))
        self.threads.add(threading.current_thread().name)
        self.stumble('prepare', job[0])
        return Read(job[0], [f'{job[0]}{number}' for number in range(job[1])])

    def restore(self, faces):
        self.batches.append(list(faces))
        self.threads.add(threading.current_thread().name)
        for name, stage in self.broken.items():
            if stage == 'restore' and any(face.startswith(name) for face in faces):
                raise RuntimeError('the network broke')
        return [face.upper() for face in faces]

    def finish(self, prepared, results):
        self.stumble('finish', prepared.name)
        return list(results)

    def note(self, job, outcome):
        """Note the record or the error of a job that is done."""
        self.alive.discard(job[0])
        if isinstance(outcome, Exception):
            self.failures[job[0]] = str(outcome)
        else:
            self.records[job[0]] = outcome


def run(jobs, batch_size=4, stopped=lambda: False, memory=1e9, **changes):
    fake = Fake(**changes)
    for job, outcome in ThreadedPipeline(fake, batch_size, memory).run(jobs, stopped):
        fake.note(job, outcome)
    return fake


# --- Batches


def test_faces_of_three_images_share_a_batch():
    fake = run([('a', 2), ('b', 1), ('c', 3)], batch_size=6)
    assert [sorted(batch) for batch in fake.batches] == [['a0', 'a1', 'b0', 'c0', 'c1', 'c2']]
    assert fake.records == {'a': ['A0', 'A1'], 'b': ['B0'], 'c': ['C0', 'C1', 'C2']}


def test_an_image_of_many_faces_is_spread_over_batches():
    fake = run([('a', 9)], batch_size=4)
    assert [len(batch) for batch in fake.batches] == [4, 4, 1]
    assert fake.records == {'a': [f'A{number}' for number in range(9)]}


def test_an_image_without_faces_never_meets_the_network():
    fake = run([('a', 0), ('b', 0)])
    assert fake.batches == []
    assert fake.records == {'a': [], 'b': []}


def test_no_images_are_no_work():
    assert run([]).records == {}


@pytest.mark.parametrize('seed', range(3))
def test_each_image_gets_its_own_faces_whatever_the_order(seed):
    random.seed(seed)
    jobs = [(f'{chr(97 + number)}-', random.randrange(6)) for number in range(26)]
    fake = run(jobs, batch_size=5, pause=0.01)
    assert fake.records == {name: [f'{name}{number}'.upper() for number in range(faces)] for name, faces in jobs}
    assert sum(map(len, fake.batches)) == sum(faces for _, faces in jobs)


def test_the_network_stays_in_one_thread_and_reading_in_others():
    fake = run([(f'{number}-', 1) for number in range(20)], pause=0.01)
    assert {'MainThread', 'read_0', 'read_1'} == fake.threads


# --- Memory


def test_few_images_are_alive_however_many_there_are():
    taken = 0

    def jobs():
        nonlocal taken
        for taken in range(1, 301):
            yield f'{taken}-', 1

    fake = Fake()
    overlap = ThreadedPipeline(fake, 2)
    ahead = []
    for job, outcome in overlap.run(jobs()):
        fake.note(job, outcome)
        ahead.append(taken - len(fake.records))
    assert len(fake.records) == 300
    assert fake.most_alive <= overlap.most_in_flight == 8
    # The list of jobs is not read far ahead either.
    assert max(ahead) <= overlap.most_in_flight + 1


def test_images_are_let_in_by_their_size():
    sizes = {f'{number}-': size for number, size in enumerate([30, 30, 30, 500, 60, 30, 30, 90])}
    fake = run([(name, 1) for name in sizes], batch_size=50, sizes=sizes, memory=100, pause=0.02)
    assert len(fake.records) == 8
    # An image that is larger than the memory limit is handled alone.
    assert fake.most_alive == 500


# --- Faults


@pytest.mark.parametrize('stage', ['prepare', 'finish'])
def test_one_bad_image_stops_no_other(stage):
    fake = run([('a', 2), ('b', 2), ('c', 2)], broken={'b': stage})
    assert fake.failures == {'b': 'b is broken'}
    assert fake.records == {'a': ['A0', 'A1'], 'c': ['C0', 'C1']}
    assert not fake.alive


def test_a_batch_that_breaks_fails_its_images_alone():
    fake = run([('a', 1), ('b', 5), ('c', 1)], batch_size=1, broken={'b': 'restore'})
    assert fake.failures == {'b': 'the network broke'}
    assert fake.records == {'a': ['A0'], 'c': ['C0']}
    # The other faces of the failed image are not restored again.
    assert sum(face.startswith('b') for batch in fake.batches for face in batch) == 1


def test_a_batch_that_breaks_is_tried_image_by_image():
    fake = run([('a', 1), ('b', 1), ('c', 2)], batch_size=4, broken={'b': 'restore'})
    assert fake.failures == {'b': 'the network broke'}
    assert fake.records == {'a': ['A0'], 'c': ['C0', 'C1']}


def test_images_wait_outside_while_many_faces_are_in_memory():
    jobs = [(str(number), 20) for number in range(12)]
    fake = run(jobs, batch_size=4, pause=0.02, sizes=dict.fromkeys((name for name, _ in jobs), 1))
    # One such image has more faces than four batches of four; up to two images per thread may be admitted before that is known.
    assert fake.most_alive <= 4
    assert len(fake.records) == 12


@pytest.mark.parametrize(('switch', 'flag'), [('use_3d_prior', '--save_3d'), ('use_awb', '--save_weights_map')])
def test_flags_for_what_a_network_has_not_are_told(switch, flag):
    options = RestoreOptions(('a.png',), save_3d=True, save_weights_map=True)
    assert list(unsupported_flags(options, tiny_frex())) == []
    (line,) = unsupported_flags(options, tiny_frex(**{switch: False}))
    assert line.startswith(f'{flag} writes nothing')


# --- Stopping


def test_a_stop_finishes_what_is_being_written_and_begins_nothing():
    fake = Fake(pause=0.02)
    jobs = ((f'{number}-', 1) for number in range(1000))
    for job, outcome in ThreadedPipeline(fake, 2).run(jobs, stopped=lambda: len(fake.batches) >= 3):
        fake.note(job, outcome)
    restored = {face[:-1] for batch in fake.batches for face in batch}
    assert 3 <= len(fake.batches) <= 4
    assert set(fake.records) == restored


@pytest.mark.parametrize(('number', 'status'), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_asks_to_stop_and_is_then_the_programs_own_again(number, status, capfd):
    before = signal.getsignal(number)
    with stop_on_signals() as stop:
        assert not stop()
        signal.raise_signal(number)
        # The terminal's signal, and then torchrun's.
        signal.raise_signal(number)
        assert stop()
        assert stop.status == status
    assert signal.getsignal(number) is before
    assert capfd.readouterr().err.count('\n') == 1


def test_the_first_reason_to_stop_counts():
    with stop_on_signals() as stop:
        stop.request(1, 'the disk is full')
        stop.request(130, 'stopped')
    assert (stop.status, stop.reason) == (1, 'the disk is full')


def test_signals_are_left_alone_outside_of_the_main_thread():
    heard = []

    def work():
        with stop_on_signals() as stop:
            heard.append(stop())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert heard == [False]


# --- Shards


def test_a_process_alone_has_a_run_of_its_own(tmp_path):
    (tmp_path / 'a.png').touch()
    options, outputs = RestoreOptions((str(tmp_path / 'a.png'),)), Outputs(tmp_path / 'out')
    runs = {collect_inputs(options, outputs, Shard()).run for _ in range(2)}
    assert len(runs) == 2


@pytest.fixture
def together(monkeypatch):
    """Return a function that sends the first of several processes' answers, inputs or an error, and returns what all of them get."""
    monkeypatch.setenv('MASTER_ADDR', '127.0.0.1')
    monkeypatch.setenv('MASTER_PORT', str(free_port()))

    def call(answer, processes):
        with ThreadPoolExecutor(processes) as pool:
            return list(pool.map(lambda number: attempt(number, answer, processes), range(processes)))

    def attempt(number, answer, processes):
        channel = InputChannel(Shard(number, processes))
        try:
            if number > 0:
                return channel.receive()
        except FRExError as error:
            return error
        (channel.send if isinstance(answer, SharedInputs) else channel.send_error)(answer)
        return answer

    return call


def inputs(*names):
    return Inputs((f'/in/{name}', str(PurePosixPath(name).with_suffix(''))) for name in names)


def test_all_processes_go_by_one_list_though_the_folder_changes(together, monkeypatch):
    monkeypatch.setattr('frex.restore.folder.distributed.PART_BYTES', 7)
    before = [f'{number}.jpg' for number in range(10)] + ['\udcff é\n.png']
    answers = together(SharedInputs('run', inputs(*before)), processes=3)
    assert [(answer.run, list(answer.inputs)) for answer in answers] == [('run', list(inputs(*before)))] * 3
    done = [item for number, answer in enumerate(answers) for item in (answer.inputs[one] for one in Shard(number, 3).of(11))]
    assert sorted(done, key=str) == sorted(inputs(*before), key=str)


def test_what_the_first_process_cannot_find_all_processes_tell(together):
    assert [str(answer) for answer in together(FRExError('--input: no file'), processes=2)] == ['--input: no file'] * 2


def test_the_error_of_the_first_process_is_sent_and_raised(tmp_path, monkeypatch):
    sent = []
    monkeypatch.setattr(InputChannel, '__init__', lambda self, shard: None)
    monkeypatch.setattr(InputChannel, 'send_error', lambda self, error: sent.append(str(error)))
    options = RestoreOptions((str(tmp_path / 'none.png'),))
    with pytest.raises(FRExError, match='no file') as raised:
        collect_inputs(options, Outputs(tmp_path / 'out'), Shard(0, 2))
    assert sent == [str(raised.value)]


def test_processes_without_a_meeting_place_are_told(monkeypatch):
    for name in ('MASTER_ADDR', 'MASTER_PORT'):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(FRExError, match=r'cannot reach each other .*MASTER_ADDR'):
        InputChannel(Shard(1, 2))


@pytest.mark.parametrize('changes', [{'RANK': '3'}, {'RANK': 'x'}, {'WORLD_SIZE': '0'}, {'RANK': '-1'}])
def test_an_environment_that_is_not_torchruns_is_told(changes):
    with pytest.raises(FRExError, match='not as torchrun sets them'):
        choose_shard('0/1', {'RANK': '1', 'WORLD_SIZE': '3'} | changes)


def test_a_local_rank_that_is_no_number_is_told():
    with pytest.raises(FRExError, match='not as torchrun sets them'):
        choose_local_device('auto', {'LOCAL_RANK': ''}, gpus=2)
