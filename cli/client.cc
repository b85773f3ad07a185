#include "cli/client.h"

#include <google/protobuf/util/json_util.h>

#include <algorithm>
#include <charconv>
#include <filesystem>

#include "base/file.h"
#include "net/url.h"
#include "proto/json.h"

namespace freshet::cli {
namespace {

constexpr size_t kPageSizeMax = 1000;

std::string first_line(const std::string& text) { return text.substr(0, text.find_first_of("\r\n")); }

Result<std::string> find_server(const Session& session) {
  if (!session.globals.server.empty()) return session.globals.server;
  std::string server = session.env.variable("FRESHET_SERVER");
  if (!server.empty()) return server;
  ASSIGN_OR_RETURN(std::string data_dir, data_dir_of(session));
  const std::string file = data_dir + "/address";
  auto address = read_file(file);
  if (address.is_ok()) return first_line(*address);
  if (address.status().code() != Code::kNotFound) return address.status();
  return unavailable("no daemon is known: " + file +
                     " does not exist; start one with `freshet up`, or give --server or " + "--data-dir");
}

Result<std::string> find_token(const Session& session) {
  std::string file = session.globals.token_file;
  if (file.empty()) {
    ASSIGN_OR_RETURN(std::string data_dir, data_dir_of(session));
    file = data_dir + "/admin.token";
  }
  auto token = read_file(file);
  if (!token.is_ok()) {
    return unauthenticated("no token: " + token.status().message() +
                           "; give --token-file, or --data-dir of the daemon on this machine");
  }
  return first_line(*token);
}

const google::protobuf::FieldDescriptor* items_field(const google::protobuf::Message& message) {
  for (int i = 0; i < message.GetDescriptor()->field_count(); ++i) {
    if (message.GetDescriptor()->field(i)->is_repeated()) return message.GetDescriptor()->field(i);
  }
  CHECK_MSG(false, message.GetTypeName() + " is no listing");
}

}  // namespace

std::string path_of(const std::vector<std::string>& parts) {
  std::string path;
  for (const auto& part : parts) path += (path.empty() ? "" : "/") + net::percent_encode(part);
  return path;
}

Client::Client(std::string server, std::string token, const Session& session)
    : server_(std::move(server)),
      project_(session.globals.project),
      idempotency_key_(session.globals.idempotency_key),
      random_(session.env.random),
      http_([&token] {
        net::HttpClientOptions options;
        options.bearer_token = std::move(token);
        return options;
      }()) {}

Result<std::unique_ptr<Client>> Client::open(const Session& session) {
  ASSIGN_OR_RETURN(std::string server, find_server(session));
  while (server.ends_with('/')) server.pop_back();
  if (server.find("://") == std::string::npos) server = "http://" + server;
  RETURN_IF_ERROR(net::parse_url(server).status().with_context("--server"));
  ASSIGN_OR_RETURN(std::string token, find_token(session));
  return std::unique_ptr<Client>(new Client(std::move(server), std::move(token), session));
}

Query Client::in_project(Query more) const {
  more.insert(more.begin(), {"project", project_});
  return more;
}

std::string Client::url(const std::string& path, const Query& query) const {
  std::string url = server_ + "/api/v1/" + path;
  char separator = '?';
  for (const auto& [name, value] : query) {
    if (value.empty()) continue;
    url += separator + name + "=" + net::percent_encode(value);
    separator = '&';
  }
  return url;
}

Result<net::HttpResponse> Client::checked(Result<net::HttpResponse> response) const {
  if (!response.is_ok()) {
    if (response.status().code() != Code::kUnavailable) return response.status();
    return unavailable(response.status().message() + "; is the daemon running? `freshet up` starts one");
  }
  RETURN_IF_ERROR(net::to_status(*response));
  return response;
}

// A newer daemon may say more than this program knows.
Status Client::parse(const net::HttpResponse& response, google::protobuf::Message* answer) const {
  google::protobuf::util::JsonParseOptions options;
  options.ignore_unknown_fields = true;
  auto status = google::protobuf::util::JsonStringToMessage(response.body, answer, options);
  if (status.ok()) return Status::ok();
  return corrupt("the answer of " + server_ + " is not a " + answer->GetDescriptor()->name() + ": " +
                 std::string(status.message()));
}

Status Client::get(const std::string& path, const Query& query, google::protobuf::Message* answer) {
  net::HttpRequest request;
  request.url = url(path, query);
  ASSIGN_OR_RETURN(auto response, checked(http_.request(request)));
  return parse(response, answer);
}

Status Client::post(const std::string& path, const Query& query, const google::protobuf::Message& body,
                    google::protobuf::Message* answer) {
  net::HttpRequest request;
  request.method = "POST";
  request.url = url(path, query);
  request.headers.push_back({"Content-Type", "application/json"});
  const std::string key = idempotency_key_.empty() ? new_id(random_) : idempotency_key_;
  request.headers.push_back({"Idempotency-Key", key});
  request.body = to_json(body);
  auto answered = http_.request(request);
  if (!answered.is_ok() && http_.reached()) {
    return Status(answered.status().code(), answered.status().message() +
                                                "; it may have been done all the same: the command can be repeated "
                                                "with --idempotency-key " +
                                                key + " without doing it twice");
  }
  ASSIGN_OR_RETURN(auto response, checked(std::move(answered)));
  return parse(response, answer);
}

Status Client::list_into(const std::string& path, Query query, size_t limit, google::protobuf::Message* all) {
  const auto* items = items_field(*all);
  const auto* token_field = all->GetDescriptor()->FindFieldByName("next_page_token");
  CHECK_MSG(token_field != nullptr, all->GetTypeName() + " has no pages");
  const auto* reflection = all->GetReflection();
  const Query first = query;
  while (true) {
    const auto have = static_cast<size_t>(reflection->FieldSize(*all, items));
    const size_t want = limit == 0 ? kPageSizeMax : std::min(kPageSizeMax, limit - have);
    query.emplace_back("page_size", std::to_string(want));
    std::unique_ptr<google::protobuf::Message> page(all->New());
    RETURN_IF_ERROR(get(path, query, page.get()));
    const std::string token = reflection->GetString(*page, token_field);
    reflection->ClearField(all, token_field);
    // Every page of model versions repeats the aliases; one copy is enough.
    for (int i = 0; i < all->GetDescriptor()->field_count(); ++i) {
      const auto* field = all->GetDescriptor()->field(i);
      if (field->is_repeated() && field != items) reflection->ClearField(all, field);
    }
    all->MergeFrom(*page);
    const bool is_enough = limit != 0 && static_cast<size_t>(reflection->FieldSize(*all, items)) >= limit;
    if (token.empty() || is_enough) return Status::ok();
    query = first;
    query.emplace_back("page_token", token);
  }
}

Result<LogPart> Client::logs(const std::string& run, const std::string& step, const std::string& stream,
                             uint64_t offset) {
  net::HttpRequest request;
  request.url = url(path_of({"runs", run, "logs"}),
                    in_project({{"step", step}, {"stream", stream}, {"offset", std::to_string(offset)}}));
  ASSIGN_OR_RETURN(auto response, checked(http_.request(request)));
  LogPart part;
  part.next_offset = offset + response.body.size();
  const std::string_view next = response.header("X-Freshet-Next-Offset");
  if (!next.empty()) {
    auto parsed = std::from_chars(next.data(), next.data() + next.size(), part.next_offset);
    if (parsed.ec != std::errc() || parsed.ptr != next.data() + next.size()) {
      return corrupt("the daemon's X-Freshet-Next-Offset is '" + std::string(next) + "'");
    }
  }
  part.complete = response.header("X-Freshet-Complete") == "true";
  part.text = std::move(response.body);
  return part;
}

Status Client::events(const std::string& run, const std::function<bool(const v1::RunEvent&)>& sink) {
  net::HttpRequest request;
  request.url = url(path_of({"runs", run, "events"}), in_project());
  Status wrong;
  auto response = http_.stream_events(request, [&](const net::ServerEvent& event) {
    if (event.name != "run") return true;
    v1::RunEvent parsed;
    net::HttpResponse body;
    body.body = event.data;
    wrong = parse(body, &parsed);
    return wrong.is_ok() && sink(parsed);
  });
  RETURN_IF_ERROR(wrong);
  return checked(std::move(response)).status();
}

}  // namespace freshet::cli
