#include "cli/render/webhooks.h"

#include "cli/render/format.h"

namespace freshet::cli {
namespace {

Cell state_cell(const v1::WebhookView& view) {
  if (view.webhook().spec().disabled()) return {"disabled", Style::kDim};
  if (!view.state().last_error().empty()) return {"failing", Style::kBad};
  return {view.state().recent().empty() ? "new" : "ok", Style::kGood};
}

std::string listed(const google::protobuf::RepeatedPtrField<std::string>& names) {
  std::string text;
  for (const auto& name : names) text += (text.empty() ? "" : ", ") + name;
  return text.empty() ? "all" : text;
}

}  // namespace

std::string render_webhooks(const v1::ListWebhooksResponse& webhooks, const RenderOptions& options) {
  if (webhooks.webhooks().empty()) return "no webhooks\n";
  Table table({"WEBHOOK", "STATE", "URL", "EVENTS", "DELIVERED", "PENDING", "DEAD", "LAST", "ERROR"});
  for (const auto& view : webhooks.webhooks()) {
    const auto& recent = view.state().recent();
    table.add({view.webhook().metadata().name(), state_cell(view), view.webhook().spec().url(),
               listed(view.webhook().spec().events()), counted(view.state().delivered()), counted(view.pending()),
               counted(view.dead_letters()), recent.empty() ? "" : age(recent.rbegin()->time_us(), options.now),
               view.state().last_error()});
  }
  return table.render(options);
}

std::string render_dead_letters(const v1::ListDeadLettersResponse& letters, const RenderOptions& options) {
  if (letters.dead_letters().empty()) return "no dead letters\n";
  Table table({"EVENT", "WEBHOOK", "TYPE", "SUBJECT", "ATTEMPTS", "AGE", "REASON"});
  for (const auto& letter : letters.dead_letters()) {
    table.add({letter.event().id(), letter.webhook(), letter.event().type(), letter.event().subject(),
               std::to_string(letter.attempts()), age(letter.event().time_us(), options.now), letter.reason()});
  }
  return table.render(options);
}

}  // namespace freshet::cli
