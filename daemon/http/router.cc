#include "daemon/http/router.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "net/url.h"

namespace freshet::http {
namespace {

bool is_open_path(std::string_view pattern) {
  return pattern == "/metrics" || pattern == "/healthz" || pattern == "/readyz";
}

bool has_control_byte(std::string_view text) {
  return std::any_of(text.begin(), text.end(),
                     [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; });
}

Result<std::vector<std::string>> split_path(std::string_view path) {
  CHECK(path.starts_with('/'));
  std::vector<std::string> segments;
  if (path == "/") return segments;
  std::string_view rest = path;
  while (!rest.empty()) {
    rest.remove_prefix(1);
    size_t end = std::min(rest.find('/'), rest.size());
    ASSIGN_OR_RETURN(std::string segment, net::percent_decode(rest.substr(0, end)));
    if (segment.empty() || segment == "." || segment == ".." || has_control_byte(segment) ||
        segment.find('/') != std::string::npos) {
      return invalid_argument("the path has a segment that is empty, '.', '..' or holds a '/' or control character");
    }
    segments.push_back(std::move(segment));
    rest.remove_prefix(end);
  }
  return segments;
}

std::string join(const std::vector<std::string>& segments, size_t from) {
  std::string joined;
  for (size_t i = from; i < segments.size(); ++i) joined += (i > from ? "/" : "") + segments[i];
  return joined;
}

}  // namespace

std::vector<Router::Segment> Router::parse_pattern(const std::string& pattern) {
  CHECK_MSG(pattern.starts_with('/') && pattern.size() > 1 && !pattern.ends_with('/'), "bad route pattern " + pattern);
  std::vector<Segment> segments;
  std::string_view rest = pattern;
  while (!rest.empty()) {
    rest.remove_prefix(1);
    std::string_view text = rest.substr(0, std::min(rest.find('/'), rest.size()));
    rest.remove_prefix(text.size());
    CHECK_MSG(!text.empty(), "empty segment in route pattern " + pattern);
    Segment::Kind kind = Segment::Kind::kLiteral;
    if (text.starts_with('{') && text.ends_with("*}")) {
      kind = Segment::Kind::kRest;
      CHECK_MSG(rest.empty(), "the rest must come last in route pattern " + pattern);
      text = text.substr(1, text.size() - 3);
    } else if (text.starts_with('{') && text.ends_with('}')) {
      kind = Segment::Kind::kParam;
      text = text.substr(1, text.size() - 2);
    }
    CHECK_MSG(!text.empty() && text.find_first_of("{}*") == std::string_view::npos, "bad route pattern " + pattern);
    segments.push_back({kind, std::string(text)});
  }
  return segments;
}

void Router::check_effect(const std::string& method, const std::string& pattern, RouteOptions* options) {
  if (method == "GET" && options->effect == Effect::kUnsaid) options->effect = Effect::kReads;
  CHECK_MSG(options->effect == Effect::kReads || options->effect == Effect::kRepeatable,
            method + " " + pattern + " does not say what it changes: add it with mutation(), or name its effect");
}

void Router::add(Route route) {
  CHECK_MSG(route.permission != Permission::kPublic || is_open_path(route.pattern),
            route.pattern + " may not be public");
  CHECK((route.handler != nullptr) + (route.upload != nullptr) + (route.listener != nullptr) == 1);
  auto entry = std::make_unique<Entry>();
  entry->segments = parse_pattern(route.pattern);
  entry->route = std::move(route);
  for (const auto& other : entries_) {
    bool same_shape = other->segments.size() == entry->segments.size() &&
                      std::equal(other->segments.begin(), other->segments.end(), entry->segments.begin(),
                                 [](const Segment& a, const Segment& b) {
                                   return a.kind == b.kind && (a.kind != Segment::Kind::kLiteral || a.text == b.text);
                                 });
    CHECK_MSG(!same_shape || other->route.method != entry->route.method,
              "two routes for " + entry->route.method + " " + entry->route.pattern);
  }
  entries_.push_back(std::move(entry));
}

bool Router::matches(const Entry& entry, const std::vector<std::string>& path) {
  for (size_t i = 0; i < entry.segments.size(); ++i) {
    if (i >= path.size()) return false;
    const Segment& segment = entry.segments[i];
    if (segment.kind == Segment::Kind::kRest) return true;
    if (segment.kind == Segment::Kind::kLiteral && segment.text != path[i]) return false;
  }
  return path.size() == entry.segments.size();
}

bool Router::is_more_literal(const Entry& a, const Entry& b) {
  for (size_t i = 0; i < std::min(a.segments.size(), b.segments.size()); ++i) {
    if (a.segments[i].kind != b.segments[i].kind) return a.segments[i].kind < b.segments[i].kind;
  }
  return false;
}

Result<RouteMatch> Router::match(std::string_view method, std::string_view path) const {
  ASSIGN_OR_RETURN(std::vector<std::string> segments, split_path(path));
  RouteMatch match;
  const Entry* best = nullptr;
  for (const auto& entry : entries_) {
    if (!matches(*entry, segments)) continue;
    if (entry->route.method != method) {
      match.allowed.push_back(entry->route.method);
    } else if (!best || is_more_literal(*entry, *best)) {
      best = entry.get();
    }
  }
  if (!best) {
    std::sort(match.allowed.begin(), match.allowed.end());
    match.allowed.erase(std::unique(match.allowed.begin(), match.allowed.end()), match.allowed.end());
    return match;
  }
  match.allowed.clear();
  match.route = &best->route;
  for (size_t i = 0; i < best->segments.size(); ++i) {
    const Segment& segment = best->segments[i];
    if (segment.kind == Segment::Kind::kParam) match.params.emplace(segment.text, segments[i]);
    if (segment.kind == Segment::Kind::kRest) match.params.emplace(segment.text, join(segments, i));
  }
  return match;
}

std::vector<const Route*> Router::routes() const {
  std::vector<const Route*> all;
  for (const auto& entry : entries_) all.push_back(&entry->route);
  return all;
}

Result<std::map<std::string, std::string>> parse_query(std::string_view query,
                                                       const std::vector<std::string>& allowed) {
  std::map<std::string, std::string> values;
  while (!query.empty()) {
    size_t end = std::min(query.find('&'), query.size());
    std::string_view item = query.substr(0, end);
    query.remove_prefix(std::min(end + 1, query.size()));
    size_t equals = item.find('=');
    ASSIGN_OR_RETURN(std::string name, net::percent_decode(item.substr(0, equals), true));
    ASSIGN_OR_RETURN(std::string value,
                     net::percent_decode(equals == std::string_view::npos ? "" : item.substr(equals + 1), true));
    if (has_control_byte(name) || has_control_byte(value)) {
      return invalid_argument("a query parameter holds a control character");
    }
    if (std::find(allowed.begin(), allowed.end(), name) == allowed.end()) {
      return invalid_argument("this call has no query parameter '" + name + "'");
    }
    if (!values.emplace(name, std::move(value)).second) {
      return invalid_argument("the query parameter '" + name + "' is given twice");
    }
  }
  return values;
}

}  // namespace freshet::http
