// CatalogReconciler: what the sources show becomes records. New files become entries of every input that reads the
// source and are gathered into inspections; finished inspections are judged, so an entry ends accepted or quarantined;
// the head of a Git source becomes the pipeline's recipe, or is refused with the reason. Runs on the control loop.
#pragma once

#include "daemon/control/context.h"
#include "daemon/control/reconciler.h"
#include "daemon/store/tables.h"
#include "proto/dataset.pb.h"
#include "proto/record.pb.h"

namespace freshet::control {

class CatalogReconciler final : public Reconciler {
 public:
  explicit CatalogReconciler(Context& context) : context_(context) {}

  std::string_view name() const override { return "catalog"; }
  Time reconcile(Time now) override;

  // Tells the hub of all sources. Also before the first request is served, which may ask for a file of one.
  Status watch_sources(const Snapshot& snapshot);

 private:
  Status record_source_status(const Snapshot& snapshot, const v1::SourceRecord& source, Time now);
  Status adopt_recipe(const Snapshot& snapshot, const v1::PipelineRecord& pipeline);
  Status record_entries(const Snapshot& snapshot, const v1::PipelineRecord& pipeline, const v1::InputSpec& input,
                        Time now);
  Status start_inspection(const Snapshot& snapshot, const v1::PipelineRecord& pipeline, const v1::InputSpec& input,
                          Time now);
  Status judge_inspection(const Snapshot& snapshot, const Record<v1::Inspection>& record, Time now);

  Context& context_;
};

}  // namespace freshet::control
