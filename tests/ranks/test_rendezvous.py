"""Ranks meet at a port of their own attempt, whatever earlier ones have left in torchrun's store."""

from concurrent.futures import ThreadPoolExecutor

from torch.distributed import HashStore

from da_toolkit.ranks.rendezvous import ask_for_port, tell_port


def test_every_attempt_agrees_on_a_port_of_its_own_in_a_store_with_leftovers():
    store = HashStore()
    store.set("asks 1", "a dead one's word")
    ports = []
    with ThreadPoolExecutor() as pool:
        for _ in range(3):
            others = [pool.submit(ask_for_port, store, rank) for rank in (2, 1)]
            ports.append(tell_port(store, 3))
            assert [other.result(20) for other in others] == [ports[-1]] * 2
    assert len(set(ports)) > 1
