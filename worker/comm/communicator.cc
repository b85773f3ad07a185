#include "worker/comm/communicator.h"

#include <array>
#include <cstring>

namespace freshet::worker {

Status Communicator::all_gather(Bytes part, const std::vector<MutableBytes>& all) {
  auto ranks = static_cast<size_t>(size());
  auto me = static_cast<size_t>(rank());
  CHECK(all.size() == ranks && all[me].size() == part.size());
  if (all[me].data() != part.data() && !part.empty()) std::memcpy(all[me].data(), part.data(), part.size());
  if (ranks == 1) return Status::ok();
  return exchange(std::vector<Bytes>(ranks, part), all);
}

Status Communicator::broadcast(MutableBytes bytes) {
  auto ranks = static_cast<size_t>(size());
  std::vector<Bytes> outgoing(ranks);
  std::vector<MutableBytes> incoming(ranks);
  if (rank() == 0) {
    outgoing.assign(ranks, bytes);
  } else {
    incoming[0] = bytes;
  }
  return exchange(outgoing, incoming);
}

Status Communicator::gather(Bytes part, const std::vector<MutableBytes>& all) {
  auto ranks = static_cast<size_t>(size());
  std::vector<Bytes> outgoing(ranks);
  std::vector<MutableBytes> incoming(ranks);
  if (rank() == 0) {
    CHECK(all.size() == ranks && all[0].size() == part.size());
    if (all[0].data() != part.data() && !part.empty()) std::memcpy(all[0].data(), part.data(), part.size());
    incoming = all;
  } else {
    outgoing[0] = part;
  }
  return exchange(outgoing, incoming);
}

Result<std::vector<std::vector<std::byte>>> Communicator::all_to_all(const std::vector<Bytes>& outgoing) {
  const auto ranks = static_cast<size_t>(size()), me = static_cast<size_t>(rank());
  CHECK(outgoing.size() == ranks);
  std::vector<std::vector<std::byte>> received(ranks);
  std::vector<uint64_t> sent_sizes(ranks), sizes(ranks);
  std::vector<Bytes> sizes_out;
  std::vector<MutableBytes> sizes_in, incoming;
  for (size_t peer = 0; peer < ranks; ++peer) {
    sent_sizes[peer] = outgoing[peer].size();
    sizes_out.push_back(std::as_bytes(std::span(&sent_sizes[peer], 1)));
    sizes_in.push_back(std::as_writable_bytes(std::span(&sizes[peer], 1)));
  }
  if (ranks > 1) RETURN_IF_ERROR(exchange(sizes_out, sizes_in));
  for (size_t peer = 0; peer < ranks; ++peer) {
    if (peer != me) received[peer].resize(sizes[peer]);
    incoming.emplace_back(received[peer]);
  }
  received[me].assign(outgoing[me].begin(), outgoing[me].end());
  if (ranks > 1) RETURN_IF_ERROR(exchange(outgoing, incoming));
  return received;
}

Status Communicator::barrier() {
  std::vector<std::byte> tokens(static_cast<size_t>(size()));
  std::vector<MutableBytes> all;
  for (auto& token : tokens) all.emplace_back(&token, 1);
  std::byte mine{};
  return all_gather(Bytes(&mine, 1), all);
}

Status Communicator::agree(const Status& mine) {
  if (size() == 1) return mine;
  struct Note {
    int32_t code = 0;
    std::array<char, 1020> message{};
  };
  Note note;
  note.code = static_cast<int32_t>(mine.code());
  std::string text = mine.message().substr(0, note.message.size() - 1);
  std::memcpy(note.message.data(), text.data(), text.size());
  std::vector<Note> notes(static_cast<size_t>(size()));
  std::vector<MutableBytes> all;
  for (auto& item : notes) all.push_back(std::as_writable_bytes(std::span(&item, 1)));
  RETURN_IF_ERROR(all_gather(std::as_bytes(std::span(&note, 1)), all));
  if (!mine.is_ok()) return mine;
  for (size_t r = 0; r < notes.size(); ++r) {
    if (notes[r].code == 0) continue;
    return Status(static_cast<Code>(notes[r].code), "rank " + std::to_string(r) + ": " + notes[r].message.data());
  }
  return Status::ok();
}

}  // namespace freshet::worker
