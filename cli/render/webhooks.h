// Webhooks and dead letters as text. Pure; any thread.
#pragma once

#include <string>

#include "cli/render/table.h"
#include "proto/api.pb.h"

namespace freshet::cli {

std::string render_webhooks(const v1::ListWebhooksResponse& webhooks, const RenderOptions& options);
std::string render_dead_letters(const v1::ListDeadLettersResponse& letters, const RenderOptions& options);

}  // namespace freshet::cli
