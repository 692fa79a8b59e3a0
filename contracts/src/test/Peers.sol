// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ERC721} from "@openzeppelin/contracts/token/ERC721/ERC721.sol";

/// @title What the gas of our contract is measured against

/// A ticket contract as tutorials write it: one token, one transaction.
contract OneByOneTickets is ERC721 {
    uint256 private next;

    constructor() ERC721("One by one", "ONE") {}

    function mint(address to) external {
        _safeMint(to, next++);
    }
}

/// Check-in as a flag in each token's packed slot: one token, one transaction.
contract PackedSlotCheckIns {
    event CheckedIn(uint256 indexed tokenId);

    struct Ticket {
        address owner;
        uint16 version;
        bool checkedIn;
    }

    mapping(uint256 tokenId => Ticket) private tickets;

    error CheckedInAlready(uint256 tokenId);

    function issue(uint256 first, uint256 count, address owner) external {
        for (uint256 id = first; id < first + count; ++id) tickets[id].owner = owner;
    }

    function checkIn(uint256 tokenId) external {
        if (tickets[tokenId].checkedIn) revert CheckedInAlready(tokenId);
        tickets[tokenId].checkedIn = true;
        emit CheckedIn(tokenId);
    }
}
