// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IERC721} from "@openzeppelin/contracts/interfaces/IERC721.sol";
import {IERC721Receiver} from "@openzeppelin/contracts/interfaces/IERC721Receiver.sol";

/// @title Contract wallets that behave, misbehave and attack

/// Takes every ticket and remembers what it was told.
contract FriendlyReceiver is IERC721Receiver {
    address public operator;
    address public from;
    uint256 public tokenId;
    bytes public data;

    function onERC721Received(
        address operator_,
        address from_,
        uint256 tokenId_,
        bytes calldata data_
    ) external returns (bytes4) {
        (operator, from, tokenId, data) = (operator_, from_, tokenId_, data_);
        return IERC721Receiver.onERC721Received.selector;
    }
}

/// Answers with the wrong word.
contract RefusingReceiver is IERC721Receiver {
    function onERC721Received(address, address, uint256, bytes calldata) external pure returns (bytes4) {
        return 0xdeadbeef;
    }
}

/// Reverts with words of its own.
contract RevertingReceiver is IERC721Receiver {
    error NotToday(uint256 tokenId);

    function onERC721Received(address, address, uint256 tokenId, bytes calldata) external pure returns (bytes4) {
        revert NotToday(tokenId);
    }
}

/// Uses up whatever gas it is given.
contract GreedyReceiver is IERC721Receiver {
    uint256 public burnt;

    function onERC721Received(address, address, uint256, bytes calldata) external returns (bytes4) {
        while (true) ++burnt;
        return IERC721Receiver.onERC721Received.selector;
    }
}

/// Passes the ticket on, or back, or makes any other call from within the callback, and notes what came of it.
contract ReentrantReceiver is IERC721Receiver {
    address private immutable target;
    bytes private plan;

    bool public called;
    bool public succeeded;
    address public ownerWithin;

    constructor(address target_) {
        target = target_;
    }

    function prepare(bytes calldata plan_) external {
        plan = plan_;
        called = false;
    }

    function onERC721Received(address, address, uint256 tokenId, bytes calldata) external returns (bytes4) {
        if (!called) {
            called = true;
            ownerWithin = IERC721(target).ownerOf(tokenId);
            (succeeded, ) = target.call(plan);
        }
        return IERC721Receiver.onERC721Received.selector;
    }
}
