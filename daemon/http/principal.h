// Who calls, and what they may do. A Principal is proof of a checked credential: only the Authenticator can make one,
// so a handler cannot be reached without it. An immutable value; any thread.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>

namespace freshet::http {

enum class Permission : uint8_t {
  kPublic,   // no credential needed: /metrics, /healthz, /readyz and nothing else
  kRead,     // look at everything but secrets
  kSubmit,   // start and cancel runs
  kOperate,  // apply pipelines, sources and triggers; decide about data; nodes
  kPromote,  // move an alias
  kAgent,    // be a node: connect, fetch and upload artifacts
};

std::string_view permission_name(Permission permission);

class PermissionSet {
 public:
  constexpr PermissionSet() = default;
  constexpr PermissionSet(std::initializer_list<Permission> permissions) {
    for (Permission permission : permissions) bits_ |= bit(permission);
  }
  static constexpr PermissionSet all() {
    return {Permission::kPublic,  Permission::kRead,    Permission::kSubmit,
            Permission::kOperate, Permission::kPromote, Permission::kAgent};
  }
  constexpr bool has(Permission permission) const { return (bits_ & bit(permission)) != 0; }

 private:
  static constexpr uint32_t bit(Permission permission) { return uint32_t{1} << static_cast<uint32_t>(permission); }
  uint32_t bits_ = 0;
};

class Principal {
 public:
  // For the audit log: "admin", or "anonymous" on a public route.
  const std::string& name() const { return name_; }
  bool may(Permission permission) const { return permissions_.has(permission); }

 private:
  friend class Authenticator;
  Principal(std::string name, PermissionSet permissions) : name_(std::move(name)), permissions_(permissions) {}

  std::string name_;
  PermissionSet permissions_;
};

}  // namespace freshet::http
