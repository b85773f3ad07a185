// Artifacts by digest: agents put what gangs made and get what gangs need.
#include "daemon/api/services.h"
#include "daemon/http/json_handler.h"

namespace freshet::api {
namespace {

using http::Permission;
using http::Principal;
using http::Request;
using http::Response;

class ArtifactFileSink final : public http::UploadSink {
 public:
  // `writer` is null when the store has the file already: the bytes are then read and dropped.
  explicit ArtifactFileSink(std::unique_ptr<ArtifactWriter> writer) : writer_(std::move(writer)) {}

  Status append(std::string_view bytes) override { return writer_ == nullptr ? Status::ok() : writer_->append(bytes); }
  Result<Response> finish() override {
    if (writer_ != nullptr) RETURN_IF_ERROR(writer_->finish());
    return http::text_response("{}", "application/json");
  }

 private:
  std::unique_ptr<ArtifactWriter> writer_;
};

Result<Response> get_file(control::ArtifactService& artifacts, const Request& request) {
  ASSIGN_OR_RETURN(auto path, artifacts.path(request.param("digest"), request.param("name")));
  if (path) return http::file_response(*path);
  ASSIGN_OR_RETURN(std::string bytes, artifacts.read(request.param("digest"), request.param("name")));
  return http::text_response(std::move(bytes), "application/octet-stream");
}

}  // namespace

void add_artifact_routes(http::Router& router, const Services& services) {
  control::ArtifactService& artifacts = services.artifacts;
  router.upload<Permission::kAgent>(
      "PUT", "/api/v1/artifact-files/{sha256}",
      [&artifacts](const Principal&, const Request& request) -> Result<std::unique_ptr<http::UploadSink>> {
        ASSIGN_OR_RETURN(auto writer, artifacts.begin_file(request.param("sha256"), request.body_size));
        return std::unique_ptr<http::UploadSink>(std::make_unique<ArtifactFileSink>(std::move(writer)));
      },
      {.body_bytes_max = size_t{1} << 40});
  router.route<Permission::kAgent>(
      "PUT", "/api/v1/artifacts/{digest}/manifest",
      http::Handler([&artifacts](const Principal& who, const Request& request) -> Result<Response> {
        ASSIGN_OR_RETURN(auto record, artifacts.seal(who.name(), request.param("digest"), request.body));
        return http::json_response(record);
      }),
      {.body_bytes_max = size_t{16} << 20, .effect = http::Effect::kRepeatable});
  router.route<Permission::kRead>("GET", "/api/v1/artifacts/{digest}/manifest",
                                  [&artifacts](const Principal&, const Request& request) -> Result<Response> {
                                    ASSIGN_OR_RETURN(std::string bytes, artifacts.manifest(request.param("digest")));
                                    return http::text_response(std::move(bytes), "application/json");
                                  });
  router.route<Permission::kRead>(
      "GET", "/api/v1/artifacts/{digest}/files/{name*}",
      [&artifacts](const Principal&, const Request& request) { return get_file(artifacts, request); });
}

}  // namespace freshet::api
