#include "daemon/http/body_reader.h"

#include <boost/asio/buffer.hpp>
#include <boost/beast/core/buffers_range.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/beast/http/parser.hpp>

namespace freshet::http {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
using boost::system::error_code;

// Like Beast's string_body, but it trusts no announced length for its allocation, so a piece can be taken out at a
// time.
struct PieceBody {
  using value_type = std::string;

  class reader {
   public:
    template <bool kIsRequest, class Fields>
    reader(beast::http::header<kIsRequest, Fields>&, value_type& body) : body_(body) {}
    void init(const boost::optional<uint64_t>&, error_code& error) { error = {}; }
    template <class Buffers>
    size_t put(const Buffers& buffers, error_code& error) {
      size_t size = 0;
      for (auto buffer : beast::buffers_range_ref(buffers)) {
        body_.append(static_cast<const char*>(buffer.data()), buffer.size());
        size += buffer.size();
      }
      error = {};
      return size;
    }
    void finish(error_code& error) { error = {}; }

   private:
    value_type& body_;
  };
};

}  // namespace

struct BodyReader::Impl {
  beast::http::request_parser<PieceBody> parser;
  std::string head;
};

BodyReader::BodyReader(std::string_view head, uint64_t body_bytes_max) : impl_(std::make_unique<Impl>()) {
  impl_->head = head;
  impl_->parser.eager(true);
  impl_->parser.header_limit(2 * kHeaderBytesMax);  // the gate's limit is the one that holds
  impl_->parser.body_limit(body_bytes_max);
}

BodyReader::~BodyReader() = default;

std::optional<GateRefusal> BodyReader::feed(std::string* input, std::string* decoded) {
  auto& parser = impl_->parser;
  auto put = [&](std::string* bytes) -> std::optional<GateRefusal> {
    while (!parser.is_done() && !bytes->empty()) {
      error_code error;
      size_t used = parser.put(asio::buffer(*bytes), error);
      bytes->erase(0, used);
      if (error == beast::http::error::need_more) break;
      if (error == beast::http::error::body_limit) return GateRefusal{413, "the body is larger than this call takes"};
      if (error) return GateRefusal{400, "bad request: " + error.message()};
      if (used == 0) break;
    }
    return std::nullopt;
  };
  if (!impl_->head.empty()) {
    if (auto refusal = put(&impl_->head)) return refusal;
    if (!parser.is_header_done() || !impl_->head.empty()) return GateRefusal{400, "bad request header"};
  }
  auto refusal = put(input);
  decoded->append(parser.get().body());
  parser.get().body().clear();
  return refusal;
}

bool BodyReader::is_done() const { return impl_->parser.is_done(); }

}  // namespace freshet::http
