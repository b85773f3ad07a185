// mutation(): makes the handler of a route that changes something. It reads the Idempotency-Key, gives a repeated
// request its first answer, and else calls the service with a Caller, with which the service commits its change and its
// answer together. Any thread.
#pragma once

#include <google/protobuf/message.h>

#include <concepts>
#include <type_traits>
#include <utility>

#include "daemon/control/answers.h"
#include "daemon/http/json_handler.h"
#include "daemon/http/router.h"

namespace freshet::api {

// invalid_argument: the key is not 1 to 128 visible characters, or header and body name different ones.
Result<control::Caller> caller_of(const http::Principal& who, const http::Request& request,
                                  const google::protobuf::Message& body);

// How often a change is tried that something else gets ahead of.
inline constexpr int kAttemptsMax = 5;

// `function` is Result<Answer>(const control::Caller&, const http::Request&, const Body&).
template <std::derived_from<google::protobuf::Message> Body, class Function>
http::Mutation mutation(control::AnswerService& answers, Function function) {
  auto handler = [&answers, function = std::move(function)](const http::Principal& who,
                                                            const http::Request& request) -> Result<http::Response> {
    Body body;
    RETURN_IF_ERROR(http::parse_json_body(request, &body));
    ASSIGN_OR_RETURN(control::Caller caller, caller_of(who, request, body));
    using Answered = std::invoke_result_t<const Function&, const control::Caller&, const http::Request&, const Body&>;
    std::remove_cvref_t<decltype(*std::declval<Answered&>())> first;
    ASSIGN_OR_RETURN(bool is_repeated, answers.find(caller, &first));
    if (is_repeated) return http::json_response(first);
    for (int attempt = 1;; ++attempt) {
      Answered answer = function(std::as_const(caller), request, std::as_const(body));
      if (answer.is_ok()) return http::json_response(*answer);
      // The same request may have been answered meanwhile, by another thread: then that is why this one was refused.
      ASSIGN_OR_RETURN(is_repeated, answers.find(caller, &first));
      if (is_repeated) return http::json_response(first);
      // A loop may have written between the service's look and its commit. What the client asked for still holds, so it
      // is asked of the newer state; a conflict with what the client expects stays one.
      if (answer.status().code() != Code::kConflict || attempt == kAttemptsMax) return answer.status();
    }
  };
  return http::Mutation{std::move(handler)};
}

}  // namespace freshet::api
