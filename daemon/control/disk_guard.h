// DiskGuard: refuses what adds (runs, documents, uploads, placements) before the disk is full, so that what runs can
// still report, be cancelled and be cleaned up, out of the reserve. Any thread. DiskReconciler makes the store's writes
// work again when space comes back, without waiting for a client, and wakes the others when the answer changes.
#pragma once

#include <cstdint>
#include <functional>
#include <utility>

#include "daemon/control/reconciler.h"
#include "daemon/store/disk.h"

namespace freshet::control {

class DiskGuard {
 public:
  // `disk` outlives it.
  DiskGuard(Disk& disk, uint64_t reserve_bytes) : disk_(disk), reserve_bytes_(reserve_bytes) {}

  // kResourceExhausted, saying what to free, when the reserve would not stay whole with `bytes` more, or while the
  // store can't write.
  Status admit(uint64_t bytes = 0) const;
  Result<uint64_t> free_bytes() const { return disk_.free_bytes(); }

 private:
  Disk& disk_;
  const uint64_t reserve_bytes_;
};

class DiskReconciler final : public Reconciler {
 public:
  // `disk` and `guard` outlive it; `wake` is the loop's.
  DiskReconciler(Disk& disk, const DiskGuard& guard, std::function<void()> wake)
      : disk_(disk), guard_(guard), wake_(std::move(wake)) {}

  std::string_view name() const override { return "disk"; }
  Time reconcile(Time now) override;

 private:
  Disk& disk_;
  const DiskGuard& guard_;
  const std::function<void()> wake_;
  bool has_room_ = true;
};

}  // namespace freshet::control
