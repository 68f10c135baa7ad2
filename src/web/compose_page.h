// The page for browsers without JavaScript: the commands for the start page's form (/web/compose). HTML with the style
// of nginx/web/nixery.css. The web server sets the Content-Security-Policy.
#pragma once

#include <string>

#include "http/message.h"

namespace nixery::web {

// "packages" are separated by spaces, commas or slashes; "platform", "encoding", "shell" and "tag" may be empty or
// missing. An invalid form gets 400 with a page that shows the error.
http::Response compose_page(const http::Request& request);

}  // namespace nixery::web
