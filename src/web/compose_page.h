// The page for browsers without JavaScript: what the form of the start page says, as commands to copy (/web/compose).
// HTML; looks are nginx/web/nixery.css. The Content-Security-Policy is the web server's to set.
#pragma once

#include <string>

#include "http/message.h"

namespace nixery::web {

// "packages" are parted by spaces, commas or slashes; "platform", "encoding", "shell" and "tag" may be empty or
// missing. A form that names no image is answered 400 with a page that says what is wrong.
http::Response compose_page(const http::Request& request);

}  // namespace nixery::web
