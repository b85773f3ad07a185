#include "worker/comm/mpi.h"

#include <mpi.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <string>
#include <string_view>

namespace freshet::worker {
namespace {

// MPI counts in int: longer messages go in pieces.
constexpr size_t kPieceBytes = size_t{1} << 30;
constexpr int kTag = 1;

Status checked(int code, const char* what) {
  if (code == MPI_SUCCESS) return Status::ok();
  char text[MPI_MAX_ERROR_STRING];
  int length = 0;
  MPI_Error_string(code, text, &length);
  return unavailable(std::string(what) + ": " + std::string(text, static_cast<size_t>(length)));
}

int environment_number(const char* name, int otherwise) {
  const char* text = std::getenv(name);
  if (!text) return otherwise;
  int value = otherwise;
  std::string_view view(text);
  std::from_chars(view.data(), view.data() + view.size(), value);
  return value;
}

template <class Span, class Post>
Status post_pieces(Span bytes, std::vector<MPI_Request>* requests, const char* what, Post post) {
  for (size_t at = 0; at < bytes.size(); at += kPieceBytes) {
    auto piece = bytes.subspan(at, std::min(kPieceBytes, bytes.size() - at));
    MPI_Request request = MPI_REQUEST_NULL;
    RETURN_IF_ERROR(checked(post(piece.data(), static_cast<int>(piece.size()), &request), what));
    requests->push_back(request);
  }
  return Status::ok();
}

}  // namespace

MpiPlace mpi_place() {
  return {environment_number("OMPI_COMM_WORLD_RANK", 0), environment_number("OMPI_COMM_WORLD_SIZE", 1),
          environment_number("OMPI_COMM_WORLD_LOCAL_RANK", 0), environment_number("OMPI_COMM_WORLD_LOCAL_SIZE", 1)};
}

MpiCommunicator::MpiCommunicator(MpiPlace place) : place_(place) {
  // A rank that waits gives its core away. Open MPI does so by itself only when it was told of fewer cores than ranks;
  // but other work shares the machine, and then a rank that spins keeps the one it waits for from running (four times
  // slower on a busy machine). The user's own setting wins.
  setenv("OMPI_MCA_mpi_yield_when_idle", "1", 0);
  if (place_.local_size == place_.size) {
    // All ranks are on this machine: without the search for networks the start is a tenth of a second shorter.
    setenv("OMPI_MCA_pml", "ob1", 0);
    setenv("OMPI_MCA_btl", "self,vader", 0);
  }
  // MPI_Init sets these three itself, to these values. Where a name is new the C library moves the environment, and a
  // thread that reads it at that moment would read freed memory; a name that is there is only given its value.
  setenv("OMPI_MCA_ess", "pmi", 0);
  setenv("PMIX_MCA_mca_base_component_show_load_errors", "1", 0);
  setenv("PMIX_MCA_psec", "native", 0);
}

Status MpiCommunicator::start() {
  int provided = 0;
  RETURN_IF_ERROR(checked(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &provided), "MPI_Init_thread"));
  if (provided < MPI_THREAD_FUNNELED) return internal("this MPI cannot be used by a process with threads");
  RETURN_IF_ERROR(checked(MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler"));
  MpiPlace found;
  RETURN_IF_ERROR(checked(MPI_Comm_rank(MPI_COMM_WORLD, &found.rank), "MPI_Comm_rank"));
  RETURN_IF_ERROR(checked(MPI_Comm_size(MPI_COMM_WORLD, &found.size), "MPI_Comm_size"));
  if (found.rank == place_.rank && found.size == place_.size) return Status::ok();
  return internal("MPI counts " + std::to_string(found.size) + " ranks, but mpirun's environment says " +
                  std::to_string(place_.size));
}

Status MpiCommunicator::exchange(const std::vector<Bytes>& outgoing, const std::vector<MutableBytes>& incoming) {
  CHECK(outgoing.size() == static_cast<size_t>(size()) && incoming.size() == static_cast<size_t>(size()));
  std::vector<MPI_Request> requests;
  for (int peer = 0; peer < size(); ++peer) {
    if (peer == rank()) continue;
    RETURN_IF_ERROR(post_pieces(incoming[static_cast<size_t>(peer)], &requests, "MPI_Irecv",
                                [peer](std::byte* data, int size, MPI_Request* request) {
                                  return MPI_Irecv(data, size, MPI_BYTE, peer, kTag, MPI_COMM_WORLD, request);
                                }));
  }
  for (int step = 1; step < size(); ++step) {  // each rank starts with another peer
    int peer = (rank() + step) % size();
    RETURN_IF_ERROR(post_pieces(outgoing[static_cast<size_t>(peer)], &requests, "MPI_Isend",
                                [peer](const std::byte* data, int size, MPI_Request* request) {
                                  return MPI_Isend(data, size, MPI_BYTE, peer, kTag, MPI_COMM_WORLD, request);
                                }));
  }
  return checked(MPI_Waitall(static_cast<int>(requests.size()), requests.data(), MPI_STATUSES_IGNORE), "MPI_Waitall");
}

Status MpiCommunicator::finish() { return checked(MPI_Finalize(), "MPI_Finalize"); }

}  // namespace freshet::worker
