#include "http/handler_result.h"

#include "error.h"
#include "http/answers.h"

namespace nixery::http {

Response resume(const Waiting& waiting) {
  try {
    return waiting.job->finished() ? waiting.when_finished() : waiting.when_late();
  } catch (const Error& error) {
    return answer_error(error);
  } catch (const std::exception& error) {
    return answer_unexpected(waiting.request, error);
  }
}

}  // namespace nixery::http
